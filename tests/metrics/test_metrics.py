"""Metrics where the answer is known; their intervals against the spread they claim to tell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulligan.data import synthetic
from mulligan.errors import UserError
from mulligan.metrics import classes, frechet, kernel, manifold, memory, path, points, sliced
from mulligan.metrics.estimate import Estimate, wilson

Floats = npt.NDArray[np.float64]


def normal(seed: int, n: int, d: int = 8) -> Floats:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal((n, d))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), shift=st.floats(-3, 3), scale=st.floats(0.2, 4))
def test_the_frechet_distance_of_shifted_and_scaled_features_is_exact(
    seed: int, shift: float, scale: float
) -> None:
    rows = normal(seed, 50)
    trace = np.trace(np.cov(rows, rowvar=False))
    centre = rows.mean(0)
    moved = (rows - centre) * scale + centre + shift
    expected = 8 * shift**2 + trace * (1 - scale) ** 2
    assert frechet.frechet(moved, rows).value == pytest.approx(expected, rel=1e-6, abs=1e-6 * trace)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_no_metric_depends_on_the_order_of_images_or_the_axes_of_features(seed: int) -> None:
    rng = np.random.Generator(np.random.PCG64(seed))
    fake, real = normal(seed, 60) + 0.5, normal(seed + 1, 80)
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    shuffled = fake[rng.permutation(60)]
    for one, other in (((fake, real), (shuffled, real)), ((fake, real), (fake @ turn, real @ turn))):
        assert frechet.frechet(*one).value == pytest.approx(frechet.frechet(*other).value, rel=1e-8)
        assert kernel.kernel_distance(*one).value == pytest.approx(
            kernel.kernel_distance(*other).value, rel=1e-8, abs=1e-10
        )
        found, again = manifold.manifold(*one), manifold.manifold(*other)
        for name in found:
            assert found[name].value == pytest.approx(again[name].value)


def test_fewer_samples_than_features_still_tell_a_shift() -> None:
    few = normal(1, 5, 64)
    assert frechet.frechet(few + 2, few).value == pytest.approx(4 * 64, rel=1e-9)


def test_the_frechet_interval_is_as_wide_as_the_values_spread() -> None:
    real = normal(0, 3000)
    found = [frechet.frechet(normal(seed, 400) * 1.2, real) for seed in range(1, 41)]
    spread = np.std([estimate.value for estimate in found])
    told = np.mean([(estimate.high - estimate.low) / (2 * 2.093) for estimate in found])
    assert 0.7 < told / spread < 1.5


def test_the_limit_of_endless_samples_is_nearer_the_truth() -> None:
    real = normal(0, 20_000, 16)
    truth = 16 * 0.3**2 + 16 * (1.2 - 1) ** 2
    few = [normal(seed, 200, 16) * 1.2 + 0.3 for seed in range(1, 13)]
    plain = np.mean([frechet.frechet(rows, real).value for rows in few])
    limit = np.mean([frechet.frechet_infinity(rows, real).value for rows in few])
    assert abs(limit - truth) < abs(plain - truth) / 2


def test_the_kernel_interval_holds_nought_for_equal_distributions() -> None:
    held = 0
    for seed in range(40):
        found = kernel.kernel_distance(normal(seed, 200), normal(seed + 100, 300))
        held += found.low <= 0 <= found.high
    assert held >= 34  # about 95 %
    shifted = kernel.kernel_distance(normal(1, 200) + 1, normal(2, 300))
    assert shifted.low > 0


def test_neighbourhoods_of_a_set_in_itself_are_whole_and_of_strangers_empty() -> None:
    rows = normal(3, 100)
    same = manifold.manifold(rows, rows)
    assert (same["precision"].value, same["recall"].value, same["coverage"].value) == (1, 1, 1)
    away = manifold.manifold(rows + 100, rows)
    assert [away[name].value for name in ("precision", "recall", "density", "coverage")] == [0, 0, 0, 0]


def test_one_image_repeated_recalls_nothing() -> None:
    rows = normal(4, 200)
    once = np.repeat(rows[:1], 200, axis=0)
    found = manifold.manifold(once, rows)
    assert found["precision"].value == 1
    assert found["recall"].value == 1 / 200  # the image itself: balls of radius nought
    assert found["coverage"].value < 0.2


def test_classifier_score_runs_from_one_to_the_number_of_classes() -> None:
    sure = np.eye(10)[np.arange(1000) % 10]
    assert classes.classifier_score(sure).value == pytest.approx(10)
    assert classes.classifier_score(np.full((100, 10), 0.1)).value == pytest.approx(1)
    assert classes.classifier_score(sure[:1].repeat(50, 0)).value == pytest.approx(1)


def test_a_class_is_missing_only_when_enough_images_say_so() -> None:
    shares = np.full(10, 0.1)
    assert classes.missing(np.array([0] + [111] * 9), shares) == [0]
    assert classes.missing(np.array([0] + [2] * 9), shares) == []  # 18 images are no evidence
    assert classes.missing(np.array([60] + [104] * 9), shares) == []
    assert classes.missing(np.array([5, 5] + [120] * 8), shares) == [0, 1]


def test_stacked_digits_count_their_modes() -> None:
    digits = np.array([[0, 0, 7], [9, 9, 9], [0, 0, 7], [1, 2, 3]])
    codes = classes.mode_codes(digits)
    assert codes.tolist() == [7, 999, 7, 123]
    assert classes.mode_coverage(codes, 1000)["modes"].value == 3
    assert classes.mode_codes(np.array([[1, 2, 3, 4]])).tolist() == [1234]
    # (K − 1)/2n is the mean KL of a fair sampler, nearly
    assert classes.perfect_mode_kl(26_000, 1000, 0) == pytest.approx(999 / 52_000, rel=0.05)


def test_sliced_wasserstein_of_a_shift() -> None:
    rows = normal(5, 500)
    shift = np.full(8, 2.0)
    # ⟨shift, direction⟩² has mean |shift|²/D over directions
    assert sliced.sliced_wasserstein(rows + shift, rows).value == pytest.approx(2.0, rel=0.15)
    assert sliced.sliced_wasserstein(rows, rows).value == 0


def test_copies_of_training_images_are_found() -> None:
    rng = np.random.Generator(np.random.PCG64(6))
    training = rng.integers(0, 256, (200, 64), dtype=np.uint8)
    images = np.concatenate([training[[5, 17]], rng.integers(0, 256, (50, 64), dtype=np.uint8)])
    images[1, 0] ^= 1  # all but a copy
    distances, ratio, index = memory.nearest(images, training)
    assert (distances[0], index[0], index[1]) == (0, 5, 17)
    assert memory.near_copies(ratio).nonzero()[0].tolist() == [0, 1]
    own, _, others = memory.nearest(training, training, own=np.arange(200))
    assert (own > 0).all()
    assert (others != np.arange(200)).all()


def test_neighbours_are_the_same_however_few_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.Generator(np.random.PCG64(8))
    training = rng.integers(0, 256, (200, 30), dtype=np.uint8)
    images = rng.integers(0, 256, (70, 30), dtype=np.uint8)
    own = rng.permutation(200)[:70]
    known = memory.nearest(images, training), memory.nearest(training[own], training, own=own)
    for pool, block in ((30 * 60, 16), (30 * 7, 70), (1, 3)):
        monkeypatch.setattr(memory, "POOL", pool)
        monkeypatch.setattr(memory, "BLOCK", block)
        again = memory.nearest(images, training), memory.nearest(training[own], training, own=own)
        for a, b in zip([*known[0], *known[1]], [*again[0], *again[1]], strict=True):
            np.testing.assert_array_equal(a, b)


def test_closeness_is_a_half_for_like_and_one_for_copies() -> None:
    rng = np.random.Generator(np.random.PCG64(7))
    alike = memory.closeness(rng.normal(5, 1, 500), rng.normal(5, 1, 500))
    assert alike.low < 0.5 < alike.high
    copies = memory.closeness(np.zeros(100), rng.normal(5, 1, 100))
    assert (copies.value, copies.high) == (1, 1)
    assert 0.95 < copies.low < 1  # a hundred do not make it certain


def test_a_straight_walk_has_length_one() -> None:
    ends = normal(8, 40).reshape(20, 2, 8)
    t = np.linspace(0, 1, 9)[None, :, None]
    straight = ends[:, :1] * (1 - t) + ends[:, 1:] * t
    unit = float(((ends[:, 0] - ends[:, 1]) ** 2).sum(1).mean())
    assert path.path_length(straight, unit).value == pytest.approx(1)
    jumps = np.where(t < 0.5, ends[:, :1], ends[:, 1:])
    assert path.path_length(jumps, unit).value == pytest.approx(8)  # all the way in one step of eight
    assert path.mean_squared_distance(normal(9, 50_000)) == pytest.approx(16, rel=0.02)


@pytest.mark.parametrize(("name", "modes"), [("ring-8", 8), ("grid-25", 25)])
def test_the_toys_own_points_find_all_modes(name: str, modes: int) -> None:
    plane = synthetic.PLANES[name]
    centres, std = plane.centres, plane.std
    rows = plane.draw(5000)[0].reshape(5000, 2)
    found = points.toy(rows, centres, std)
    assert found["modes"].value == modes
    assert found["high_quality"].value == pytest.approx(1 - np.exp(-4.5), abs=0.006)  # 98.9 %
    assert found["reverse_kl"].value < 0.01
    half = points.toy(rows[np.linalg.norm(rows - centres[0], axis=1) < 3.5 * std], centres, std)
    assert half["modes"].value == 1
    once = points.toy(centres[:5], centres, std)[
        "modes"
    ]  # five modes of one point each: so many may be missed
    doubt = 1.959964 * 5**0.5
    assert (once.low, once.value, once.high) == pytest.approx((5 - doubt, 5, min(modes, 5 + doubt)))
    assert half["reverse_kl"].value == pytest.approx(np.log(modes))


@settings(deadline=None)
@given(n=st.integers(1, 500), share=st.floats(0, 1))
def test_the_score_interval_holds_the_share(n: int, share: float) -> None:
    found = wilson(round(share * n), n)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(
    ("fake", "real", "words"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "at least 2"),
        (np.zeros(3), np.zeros((5, 3)), r"\[N, D\]"),
        (np.full((4, 3), np.nan), np.zeros((5, 3)), "not finite"),
        (np.zeros((4, 3)), np.zeros((5, 2)), "cannot be compared"),
    ],
)
def test_what_cannot_be_compared_is_refused(fake: Floats, real: Floats, words: str) -> None:
    for metric in (
        frechet.frechet,
        frechet.frechet_infinity,
        kernel.kernel_distance,
        sliced.sliced_wasserstein,
        manifold.manifold,
    ):
        with pytest.raises(UserError, match=words):
            metric(fake, real)


def test_neighbourhoods_need_more_points_than_neighbours() -> None:
    with pytest.raises(UserError, match="more than 5 images"):
        manifold.manifold(normal(1, 5), normal(2, 50))


def test_an_estimate_is_a_value_with_an_interval() -> None:
    assert Estimate(1.0, 0.5, 2.0).low == 0.5
