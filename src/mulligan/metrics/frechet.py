"""The Fréchet distance between two sets of features (Heusel et al. 2017, arXiv 1706.08500, eq. 6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mulligan import seeds
from mulligan.metrics.estimate import (
    NORMAL,
    Estimate,
    Floats,
    around,
    checked,
    checked_pair,
    groups_of,
    incomparable,
    jackknife,
)

SIZES = 15  # of random subsets that the extrapolation is a line through


class Sums(NamedTuple):
    """What mean and covariance are made of; groups of images can be added and taken away."""

    n: int
    first: Floats  # Σ x, [D]
    second: Floats  # Σ x xᵀ, [D, D]

    @classmethod
    def of(cls, rows: Floats) -> Sums:
        """Sum over rows ``[N, D]``."""
        return cls(len(rows), rows.sum(0), rows.T @ rows)

    def without(self, other: Sums) -> Sums:
        """Take some of the rows away."""
        return Sums(self.n - other.n, self.first - other.first, self.second - other.second)

    def moments(self) -> tuple[Floats, Floats]:
        """Return mean [D] and unbiased covariance [D, D]."""
        mean = self.first / self.n
        return mean, (self.second - self.n * np.outer(mean, mean)) / (self.n - 1)


class Target(NamedTuple):
    """What distances are measured to: mean ``[D]``, a factor of the covariance, and its trace."""

    mean: Floats
    factor: Floats
    trace: float

    @classmethod
    def of(cls, rows: Floats) -> Target:
        """Take the moments of a reference's features, ``[M, D]``, once for many distances."""
        factor = _factor(rows)
        return cls(rows.mean(0), factor, float((factor * factor).sum()))


def frechet(generated: npt.ArrayLike, reference: npt.ArrayLike | Target) -> Estimate:
    """Return ‖μ₁ − μ₂‖² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½ of features ``[N, D]`` and ``[M, D]``.

    The trace of the root is the nuclear norm of X₁ᵀ-by-X₂ᵀ products of centred features, so that no
    root of a singular covariance is ever taken. Its interval is a jackknife over 20 groups of the
    generated images; the reference is taken as given: it is the same in every score.

    Raises:
        UserError: the features cannot be compared.
    """
    rows, target = _prepared(generated, reference)
    whole = _distance(rows, target)
    groups = groups_of(len(rows))
    if len(rows) > 2 * rows.shape[1]:
        # Enough images for running sums: each group costs one decomposition of a D×D matrix.
        shifted = rows - target.mean  # near zero, where sums of squares lose no digits
        sums = Sums.of(shifted)
        without = [
            _distance_from_moments(*sums.without(Sums.of(shifted[group])).moments(), target)
            for group in groups
        ]
    else:
        without = [_distance(np.delete(rows, group, axis=0), target) for group in groups]
    return jackknife(whole, without, least=0.0)


def frechet_infinity(generated: npt.ArrayLike, reference: npt.ArrayLike | Target, seed: int = 0) -> Estimate:
    """Return the distance for endlessly many generated images.

    The distance of n images is biased by about c/n; a line through its values at 15 sizes of
    random subsets, drawn over 1/n, meets 0 at the limit (Chong and Forsyth 2020, arXiv 1911.07023).
    The reference's own size is not extrapolated. The interval joins the line's uncertainty with
    that of the images.
    """
    rows, target = _prepared(generated, reference)
    sampled = frechet(rows, target)
    rng = np.random.Generator(np.random.PCG64(seeds.derive(seed, "frechet infinity")))
    least = max(min(len(rows), 2 * rows.shape[1]), len(rows) // 10, 2)
    sizes = np.unique(np.linspace(least, len(rows), SIZES).round().astype(int))
    if len(sizes) < 3:
        return sampled
    found = [_distance(rows[rng.permutation(len(rows))[:size]], target) for size in sizes]
    x, y = 1 / sizes, np.array(found)
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * y).sum()) / spread
    intercept = float(y.mean()) - slope * float(x.mean())
    noise = float(((y - intercept - slope * x) ** 2).sum()) / (len(x) - 2)
    error = noise * (1 / len(x) + float(x.mean()) ** 2 / spread)
    half = float(np.hypot(NORMAL * np.sqrt(error), sampled.high - sampled.value))
    return around(intercept, half)


def _prepared(generated: npt.ArrayLike, reference: npt.ArrayLike | Target) -> tuple[Floats, Target]:
    if not isinstance(reference, Target):
        rows, real = checked_pair(generated, reference)
        return rows, Target.of(real)
    rows = checked(generated, "generated features")
    if rows.shape[1] != len(reference.mean):
        raise incomparable(rows.shape[1], len(reference.mean))
    return rows, reference


def _distance(rows: Floats, target: Target) -> float:
    """Return the distance by factors: Σ = FᵀF with F of at most D rows, tr (Σ₁Σ₂)^½ = ‖F₁F₂ᵀ‖₊."""
    shift, factor = rows.mean(0) - target.mean, _factor(rows)
    root = float(np.linalg.svd(factor @ target.factor.T, compute_uv=False).sum())
    return max(float(shift @ shift) + float((factor * factor).sum()) + target.trace - 2 * root, 0.0)


def _factor(rows: Floats) -> Floats:
    """Return F with FᵀF the unbiased covariance of the rows."""
    centred: Floats = (rows - rows.mean(0)) / np.sqrt(len(rows) - 1)
    if len(rows) <= rows.shape[1]:
        return centred
    return np.linalg.qr(centred)[1]


def _distance_from_moments(shift: Floats, covariance: Floats, target: Target) -> float:
    """Return the distance from a mean, as it differs from the target's, and a covariance."""
    # tr (Σ₁Σ₂)^½ = tr (F₂ Σ₁ F₂ᵀ)^½, which is symmetric
    roots = np.sqrt(np.linalg.eigvalsh(target.factor @ covariance @ target.factor.T).clip(0))
    return float(shift @ shift + np.trace(covariance) + target.trace - 2 * roots.sum())
