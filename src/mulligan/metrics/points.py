"""Points in a plane, whose modes are known (PacGAN, Lin et al. 2018, arXiv 1712.04086, section 4.1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mulligan.metrics.classes import class_kl, histogram, occurring
from mulligan.metrics.estimate import Estimate, Floats, checked, wilson

NEAR = 3  # standard deviations


def toy(points: npt.ArrayLike, centres: Floats, std: float) -> dict[str, Estimate]:
    """Judge samples of a mixture of Gaussians in the plane.

    ``modes``: Gaussians with at least one point of high quality, that is within three standard
    deviations of the centre; ``high_quality``: share of such points; ``reverse_kl``: KL(shares of
    high-quality points ‖ uniform), in nats; without any such point it is left out.

    Args:
        points: ``[N, 2]``.
        centres: ``[K, 2]``.
        std: Of each Gaussian.
    """
    rows = checked(points, "points")
    distances = np.sqrt(((rows[:, None] - centres) ** 2).sum(2))
    nearest = distances.argmin(1)
    good = distances.min(1) <= NEAR * std
    counts = histogram(nearest[good].astype(np.int64), len(centres))
    answer = {
        "modes": occurring(counts),
        "high_quality": wilson(int(good.sum()), len(rows)),
    }
    if counts.sum() > 1:
        answer["reverse_kl"] = class_kl(counts, np.full(len(centres), 1 / len(centres)))
    return answer
