from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mulligan.data import synthetic
from mulligan.errors import UserError


def test_protocol() -> None:
    """PacGAN, arXiv 1712.04086: 8 modes on the unit circle, 25 on {−4, −2, 0, 2, 4}²."""
    ring, grid = synthetic.PLANES["ring-8"], synthetic.PLANES["grid-25"]
    expected = [(np.cos(2 * np.pi * k / 8), np.sin(2 * np.pi * k / 8)) for k in range(8)]
    np.testing.assert_allclose(ring.centres, expected, atol=1e-15)
    assert (ring.std, grid.std) == (0.01, 0.05)
    np.testing.assert_array_equal(grid.centres, [(i, j) for i in range(-4, 5, 2) for j in range(-4, 5, 2)])


@pytest.mark.parametrize(("name", "count"), [("ring-8", 8), ("grid-25", 25)])
def test_a_mixture(name: str, count: int) -> None:
    plane = synthetic.PLANES[name]
    centres, std = plane.centres, plane.std
    points, labels = plane.draw()
    assert points.shape == (100_000, 2, 1, 1)
    assert points.dtype == np.float32
    assert labels.shape == (100_000,)
    assert labels.dtype == np.int64
    share = np.bincount(labels) / len(labels)
    np.testing.assert_allclose(share, np.full(count, 1 / count), atol=0.005)
    deviations = (points[:, :, 0, 0] - centres[labels]) / std
    for k in range(count):
        cluster = deviations[labels == k]
        np.testing.assert_allclose(cluster.mean(axis=0), 0, atol=0.08)
        np.testing.assert_allclose(np.cov(cluster.T), np.eye(2), atol=0.1)
    nearest = ((points[:, None, :, 0, 0] - centres) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, labels)
    # Within three standard deviations of a centre: 1 − exp(−9/2) of a plane Gaussian.
    assert (np.hypot(*deviations.T) < 3).mean() == pytest.approx(1 - np.exp(-4.5), abs=0.001)


@pytest.mark.parametrize("make", [plane.draw for plane in synthetic.PLANES.values()])
def test_seeds(make: Callable[..., tuple[synthetic.Points, synthetic.Labels]]) -> None:
    a, b, c = make(50, seed=1), make(50, seed=1), make(50, seed=2)
    assert np.array_equal(a[0], b[0])
    assert np.array_equal(a[1], b[1])
    assert not np.array_equal(a[0], c[0])
    assert not np.array_equal(a[1], c[1])
    assert not np.array_equal(make(50, seed=-1)[0], a[0])  # any integer is a seed
    state = np.random.get_state(legacy=False)["state"]["key"]
    make(50)
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], state)


def test_stacked() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(200) % 10)
    images = rng.integers(0, 256, (200, 1, 5, 4), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(200), labels  # each image tells who it is
    out, stacked = synthetic.stacked(images, labels, 5000, seed=3)
    assert out.shape == (5000, 3, 5, 4)
    assert out.dtype == np.uint8
    assert stacked.dtype == np.int64
    np.testing.assert_array_equal(out, images[out[:, :, 0, 0], 0])
    digits = out[:, :, 0, 1].astype(int)
    np.testing.assert_array_equal(stacked, 100 * digits[:, 0] + 10 * digits[:, 1] + digits[:, 2])
    assert len(set(stacked)) > 950  # of 1,000, in 5,000 draws
    assert len(np.unique(out[:, :, 0, 0], axis=0)) > 4900  # three draws, not one
    assert np.abs(np.corrcoef(digits.T) - np.eye(3)).max() < 0.06


def test_stacked_seeds_and_errors() -> None:
    images = np.arange(10, dtype=np.uint8)[:, None, None, None]
    labels = np.arange(10)
    a, b, c = (synthetic.stacked(images, labels, 40, seed=s)[1] for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    with pytest.raises(UserError, match=r"labels 0\.\.9"):
        synthetic.stacked(images, labels + 1, 4)
    with pytest.raises(UserError, match="3 channels"):
        synthetic.stacked(np.zeros((10, 3, 2, 2), np.uint8), labels, 4)
