"""Every metric against an independent implementation, on identical features."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
import scipy.stats
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from torch import nn

from mulligan.metrics import classes, estimate, frechet, kernel, manifold, memory, sliced

Floats = npt.NDArray[np.float64]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its imports warn of packages it can do without
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance


class Passed(nn.Module):
    """A feature extractor for features: it passes them on."""

    num_features = 24

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.flatten(1).double()


def features(seed: int, n: int, *, d: int = 24, shift: float = 0.0) -> Floats:
    """Correlated, skewed and at or above zero, as a network's are."""
    rng = np.random.Generator(np.random.PCG64(seed))
    mixed = rng.standard_normal((n, d)) @ (np.eye(d) + 0.3 * rng.standard_normal((d, d))) + shift
    return np.maximum(mixed, 0) ** 1.3


def rows(values: Floats) -> torch.Tensor:
    return torch.from_numpy(values)[:, :, None, None]


def filled(metric: Any, fake: Floats, real: Floats) -> Any:
    metric.set_dtype(torch.float64)
    metric.update(rows(real), real=True)
    metric.update(rows(fake), real=False)
    return metric.compute()


@pytest.mark.parametrize("groups", [2, 5, 19, 20])
def test_a_jackknife_of_few_groups_is_wide(groups: int) -> None:
    """Leaving values out of their mean one by one gives the interval of a mean."""
    values = np.random.default_rng(groups).normal(3, 2, groups)
    without = [float(np.delete(values, i).mean()) for i in range(groups)]
    found = estimate.jackknife(float(values.mean()), without)
    low, high = scipy.stats.t.interval(0.95, groups - 1, values.mean(), scipy.stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize("degrees", [1, 19, 30, 31, 60, 1000])
def test_quantiles_are_students(degrees: int) -> None:
    assert estimate.student(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=1e-4)


@pytest.mark.parametrize(("n", "m"), [(300, 500), (1000, 200), (40, 1000)])
def test_frechet_distance_is_torchmetrics(n: int, m: int) -> None:
    fake, real = features(1, n), features(2, m, shift=0.3)
    oracle = float(filled(FrechetInceptionDistance(Passed(), normalize=True), fake, real))
    assert frechet.frechet(fake, real).value == pytest.approx(oracle, rel=1e-6)
    assert frechet.frechet(fake, real).value == pytest.approx(oracle, rel=1e-6)


def test_frechet_distance_is_scipys_square_root() -> None:
    fake, real = features(3, 400), features(4, 300, shift=0.1)
    a, b = np.cov(fake, rowvar=False), np.cov(real, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b).real
    oracle = ((fake.mean(0) - real.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root)
    assert frechet.frechet(fake, real).value == pytest.approx(oracle, rel=1e-6)


@pytest.mark.parametrize("n", [4, 10, 24, 25, 400])
def test_frechet_distance_of_a_set_to_itself_is_nought(n: int) -> None:
    same = features(5, n)
    assert abs(frechet.frechet(same, same).value) <= 1e-6 * np.trace(np.cov(same, rowvar=False))


@pytest.mark.parametrize(("n", "rank"), [(8, 24), (400, 3), (400, 0)])
def test_frechet_distance_with_singular_covariances(n: int, rank: int) -> None:
    rng = np.random.Generator(np.random.PCG64(6))
    flat = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, 24)) if rank else np.zeros((n, 24))
    real = features(7, 300)
    # The oracle takes the root in the eigenvectors of one covariance, in extended precision.
    a, b = (np.cov(x, rowvar=False).astype(np.longdouble).astype(np.float64) for x in (flat, real))
    values, vectors = np.linalg.eigh(b)
    half = vectors * np.sqrt(values.clip(0)) @ vectors.T
    root = np.sqrt(np.linalg.eigvalsh(half @ a @ half).clip(0)).sum()
    oracle = ((flat.mean(0) - real.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * root
    scale = np.trace(a) + np.trace(b)
    assert abs(frechet.frechet(flat, real).value - oracle) <= 1e-6 * scale
    assert abs(frechet.frechet(flat, flat).value) <= 1e-6 * max(np.trace(a), 1e-12)


@pytest.mark.filterwarnings("ignore:Metric .* will save all extracted features")
def test_kernel_distance_is_torchmetrics() -> None:
    fake, real = features(8, 300), features(9, 300, shift=0.2)
    metric = KernelInceptionDistance(Passed(), subsets=1, subset_size=300, normalize=True)
    oracle, _ = filled(metric, fake, real)
    assert kernel.kernel_distance(fake, real).value == pytest.approx(float(oracle), rel=1e-6)


def test_kernel_distance_of_sets_of_different_size() -> None:
    fake, real = features(8, 70), features(9, 50, shift=0.2)

    def k(a: Floats, b: Floats) -> Floats:
        return (a @ b.T / 24 + 1) ** 3

    within = [k(x, x)[~np.eye(len(x), dtype=bool)].mean() for x in (fake, real)]
    assert kernel.kernel_distance(fake, real).value == pytest.approx(
        sum(within) - 2 * k(fake, real).mean(), rel=1e-9
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # torchmetrics': of its buffer, and of a single split
def test_classifier_score_is_torchmetrics() -> None:
    logits = 2 * np.random.Generator(np.random.PCG64(10)).standard_normal((500, 10))
    metric = InceptionScore(Passed(), splits=1)
    metric.update(rows(logits))
    oracle, _ = metric.compute()
    probabilities = torch.from_numpy(logits).softmax(1).numpy()
    assert classes.classifier_score(probabilities).value == pytest.approx(float(oracle), rel=1e-6)


def test_neighbourhoods_are_scikit_learns() -> None:
    fake, real, k = features(11, 250), features(12, 300, shift=0.2), 5

    def radii(points: Floats) -> Floats:
        found, _ = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(points).kneighbors(points)
        return np.asarray(found[:, -1])

    distances = scipy.spatial.distance.cdist(fake, real)
    fake_radii, real_radii = radii(fake), radii(real)
    found = manifold.manifold(fake, real, k)
    assert found["precision"].value == pytest.approx((distances <= real_radii).any(1).mean(), rel=1e-6)
    assert found["recall"].value == pytest.approx((distances <= fake_radii[:, None]).any(0).mean(), rel=1e-6)
    assert found["density"].value == pytest.approx((distances <= real_radii).sum() / (k * 250), rel=1e-6)
    assert found["coverage"].value == pytest.approx((distances <= real_radii).any(0).mean(), rel=1e-6)


def test_sliced_wasserstein_along_one_dimension_is_scipys() -> None:
    rng = np.random.Generator(np.random.PCG64(13))
    fake, real = rng.standard_normal((1000, 1)) + 2, rng.standard_normal((1000, 1))
    # In one dimension every direction is the same, and W₂² the mean squared gap of sorted values.
    oracle = np.sqrt(((np.sort(fake[:, 0]) - np.sort(real[:, 0])) ** 2).mean())
    assert sliced.sliced_wasserstein(fake, real).value == pytest.approx(oracle, rel=1e-6)
    # A mere shift is as far by any power.
    first = scipy.stats.wasserstein_distance(fake[:, 0], fake[:, 0] + 3)
    assert sliced.sliced_wasserstein(fake, fake + 3).value == pytest.approx(first, rel=1e-6)


def test_class_kl_is_scipys_entropy() -> None:
    counts = np.array([30, 0, 12, 58])
    shares = np.array([0.3, 0.2, 0.1, 0.4])
    assert classes.class_kl(counts, shares).value == pytest.approx(
        scipy.stats.entropy(counts / 100, shares), rel=1e-6
    )
    uniform = np.full(1000, 1 / 1000)
    codes = np.random.Generator(np.random.PCG64(14)).integers(0, 1000, 26_000)
    oracle = scipy.stats.entropy(np.bincount(codes, minlength=1000) / 26_000, uniform)
    assert classes.mode_coverage(codes, 1000)["mode_kl"].value == pytest.approx(oracle, rel=1e-6)


def test_nearest_is_scikit_learns() -> None:
    rng = np.random.Generator(np.random.PCG64(15))
    images, training = (rng.integers(0, 256, (n, 49), dtype=np.uint8) for n in (40, 300))
    oracle = NearestNeighbors(n_neighbors=50, algorithm="brute").fit(training / 255)
    expected, indices = oracle.kneighbors(images / 255)
    distances, ratio, index = memory.nearest(images, training)
    np.testing.assert_allclose(distances, expected[:, 0], rtol=1e-6)
    np.testing.assert_allclose(ratio, expected[:, 0] / expected.mean(1), rtol=1e-6)
    np.testing.assert_array_equal(index, indices[:, 0])


def test_closeness_is_the_area_under_a_curve() -> None:
    rng = np.random.Generator(np.random.PCG64(16))
    near, far = rng.normal(4, 1, 300).round(1), rng.normal(5, 1, 200).round(1)  # with ties
    oracle = roc_auc_score(np.repeat([0, 1], [300, 200]), np.concatenate([near, far]))
    assert memory.closeness(near, far).value == pytest.approx(oracle, rel=1e-6)
