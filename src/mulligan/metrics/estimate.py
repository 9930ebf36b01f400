"""A number with its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mulligan.errors import UserError

Floats = npt.NDArray[np.float64]

GROUPS = 20  # of a jackknife
NORMAL = 1.959964  # 97.5 % quantile of the normal distribution
# of Student's t with 1, 2, … degrees of freedom
STUDENT = (
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139,
    2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963,
    2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272,
)  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A value, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def around(value: float, half: float, *, least: float = -math.inf) -> Estimate:
    """Return a symmetric interval, cut off at the least value that is possible."""
    return Estimate(value, max(least, value - half), value + half)


def student(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t with so many degrees of freedom, at least one."""
    if degrees <= len(STUDENT):
        return STUDENT[degrees - 1]
    z = NORMAL  # Abramowitz and Stegun 1964, 26.7.5: to five digits
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def jackknife(whole: float, without: Sequence[float], *, least: float = -math.inf) -> Estimate:
    """Return the interval of a statistic from its values without each of G groups of the sample.

    Delete-a-group jackknife: variance (G − 1)/G Σ (θ₍g₎ − θ̄)² (Efron and Stein 1981), with
    Student's t.
    """
    values = np.asarray(without, np.float64)
    groups = len(values)
    half = math.sqrt((groups - 1) / groups * float(((values - values.mean()) ** 2).sum()))
    return around(whole, student(groups - 1) * half, least=least)


def groups_of(n: int) -> list[npt.NDArray[np.int64]]:
    """Split 0..n-1 into up to 20 groups of at least two."""
    return list(np.array_split(np.arange(n), max(2, min(GROUPS, n // 2))))


def wilson(successes: int, n: int) -> Estimate:
    """Return a share and its score interval (Wilson 1927), which holds near 0 and 1 too."""
    share, z2 = successes / n, NORMAL**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def mean(values: Floats, *, least: float = -math.inf) -> Estimate:
    """Return the mean of independent values, float64 ``[N]``, and its normal interval."""
    half = NORMAL * float(values.std(ddof=1)) / math.sqrt(len(values))
    return around(float(values.mean()), half, least=least)


def checked(features: npt.ArrayLike, what: str = "features") -> Floats:
    """Return features as float64 ``[N, D]``.

    Raises:
        UserError: another shape, fewer than two rows, or a number that is not finite.
    """
    array = np.asarray(features, np.float64)
    if array.ndim != 2 or len(array) < 2 or array.shape[1] < 1:
        raise UserError(f"{what}: expected [N, D] with N at least 2, got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise UserError(f"{what}: a number is not finite")
    return array


def checked_pair(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return two sets of features of the same D.

    Raises:
        UserError: as in ``checked``, or they are of different D.
    """
    left, right = checked(a, "generated features"), checked(b, "reference features")
    if left.shape[1] != right.shape[1]:
        raise incomparable(left.shape[1], right.shape[1])
    return left, right


def incomparable(left: int, right: int) -> UserError:
    """Say that features of so many numbers have no distance."""
    return UserError(f"features of {left} and of {right} numbers cannot be compared")
