"""What a classifier sees: how sure it is, which classes occur, and which do not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mulligan import seeds
from mulligan.metrics.estimate import (
    NORMAL,
    Estimate,
    Floats,
    around,
    checked,
    groups_of,
    jackknife,
    wilson,
)

RARE = 0.25  # of the share a class should have

Labels = npt.NDArray[np.int64]


def classifier_score(probabilities: npt.ArrayLike) -> Estimate:
    """Return exp E KL(p(y|x) ‖ p(y)) of class probabilities ``[N, K]``: 1 at worst, K at best.

    The inception score (Salimans et al. 2016, arXiv 1606.03498) with the evaluator as classifier,
    over all images at once; the interval is a jackknife's.
    """
    p = checked(probabilities, "class probabilities")
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(1)

    def score(rows: npt.NDArray[np.bool_]) -> float:
        marginal = p[rows].mean(0)
        entropy = -float((marginal[marginal > 0] * np.log(marginal[marginal > 0])).sum())
        return float(np.exp(terms[rows].mean() + entropy))

    every = np.ones(len(p), bool)
    without = []
    for group in groups_of(len(p)):
        kept = every.copy()
        kept[group] = False
        without.append(score(kept))
    return jackknife(score(every), without, least=1.0)


def histogram(predicted: Labels, classes: int) -> Labels:
    """Count the images of each class: int64 ``[K]``."""
    return np.bincount(predicted, minlength=classes).astype(np.int64)


def class_kl(counts: Labels, shares: npt.ArrayLike) -> Estimate:
    """Return KL(generated ‖ reference) between the shares of classes, in nats.

    The interval is a jackknife over single images, which the counts are enough for.
    """
    whole = _kl(counts / counts.sum(), np.asarray(shares, np.float64))
    n = int(counts.sum())
    present = np.flatnonzero(counts)
    without = np.empty(len(present))
    for i, label in enumerate(present):
        fewer = counts.astype(np.float64)
        fewer[label] -= 1
        without[i] = _kl(fewer / (n - 1), np.asarray(shares, np.float64))
    weights = counts[present] / n
    centre = float((weights * without).sum())
    variance = (n - 1) * float((weights * (without - centre) ** 2).sum())
    return around(whole, NORMAL * float(np.sqrt(variance)), least=0.0)


def missing(counts: Labels, shares: npt.ArrayLike) -> list[int]:
    """Return the classes that occur less than a quarter as often as they should, beyond doubt.

    The upper end of the share's interval decides, so that a handful of images is no evidence.
    """
    n = int(counts.sum())
    return [
        label
        for label, (count, share) in enumerate(zip(counts, np.asarray(shares, np.float64), strict=True))
        if wilson(int(count), n).high < RARE * share
    ]


def mode_codes(digits: Labels) -> Labels:
    """Read the digits of each image's channels, int64 ``[N, C]``, as a number: the first counts most."""
    return digits @ (10 ** np.arange(digits.shape[1])[::-1])


def occurring(counts: Labels) -> Estimate:
    """Count the modes that occur at least once: how often each does is int64 ``[K]``."""
    found = int((counts > 0).sum())
    doubt = NORMAL * float(np.sqrt((counts == 1).sum()))  # a mode of one sample may be missed next time
    return Estimate(found, max(0.0, found - doubt), min(len(counts), found + doubt))


def mode_coverage(codes: Labels, modes: int) -> dict[str, Estimate]:
    """Count the modes that occur, and how unevenly: StackedMNIST's two numbers.

    ``modes`` is the number of distinct codes; ``mode_kl`` is KL(generated ‖ uniform) in nats, the
    reverse KL of VEEGAN (arXiv 1705.07761) and PacGAN (arXiv 1712.04086, section 4.2).

    Args:
        codes: int64 ``[N]``, 0..modes-1.
        modes: 1,000 for three digits, 10,000 for four.
    """
    counts = histogram(codes, modes)
    return {
        "modes": occurring(counts),
        "mode_kl": class_kl(counts, np.full(modes, 1 / modes)),
    }


def perfect_mode_kl(n: int, modes: int, seed: int = 0, repeats: int = 20) -> float:
    """Return the mean ``mode_kl`` of n draws from a uniform distribution: what no sampler can beat."""
    rng = np.random.Generator(np.random.PCG64(seeds.derive(seed, "perfect")))
    uniform = np.full(modes, 1 / modes)
    return float(np.mean([_kl(rng.multinomial(n, uniform) / n, uniform) for _ in range(repeats)]))


def _kl(p: Floats, q: Floats) -> float:
    there = p > 0
    expected = q[there].clip(1e-6)  # a class the reference lacks is all but impossible, not infinitely so
    return float((p[there] * np.log(p[there] / expected)).sum())
