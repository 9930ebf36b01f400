"""Precision, recall, density and coverage: do the samples look real, and do they show all there is?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from mulligan.errors import UserError
from mulligan.metrics.estimate import Estimate, Floats, checked_pair, mean, wilson

BLOCK = 1024  # rows of the matrix of distances held at once


def manifold(generated: npt.ArrayLike, reference: npt.ArrayLike, k: int = 5) -> dict[str, Estimate]:
    """Compare two sets of features by balls that reach to each point's k-th neighbour in its own set.

    ``precision``: share of generated points in a ball of a real one; ``recall``: share of real
    points in a ball of a generated one (Kynkäänniemi et al. 2019, arXiv 1904.06991).
    ``density``: real balls that a generated point lies in, over k; ``coverage``: share of real
    balls that hold a generated point (Naeem et al. 2020, arXiv 2002.09797).

    The intervals are those of a share (Wilson) and of a mean over the points counted; that the
    balls of the other set are a sample too is left out.

    Raises:
        UserError: the features cannot be compared, or a set has no more than k points.
    """
    fake, real = checked_pair(generated, reference)
    if min(len(fake), len(real)) <= k:
        raise UserError(f"neighbourhoods of {k} need more than {k} images on either side")
    fake_radius, real_radius = _radii(fake, k), _radii(real, k)
    recalled = np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    balls = np.empty(len(fake), np.int64)
    for start in range(0, len(fake), BLOCK):
        rows = slice(start, start + BLOCK)
        squared = _squared(fake[rows], real)
        inside = squared <= real_radius
        balls[rows] = inside.sum(1)
        covered |= inside.any(0)
        recalled |= (squared <= fake_radius[rows, None]).any(0)
    return {
        "precision": wilson(int((balls > 0).sum()), len(fake)),
        "recall": wilson(int(recalled.sum()), len(real)),
        "density": mean(balls / k, least=0.0),
        "coverage": wilson(int(covered.sum()), len(real)),
    }


def _radii(points: Floats, k: int) -> Floats:
    """Return the squared distance from each point to its k-th neighbour, itself not counted."""
    radii = np.empty(len(points))
    for start in range(0, len(points), BLOCK):
        squared = _squared(points[start : start + BLOCK], points)
        own = np.arange(len(squared))
        squared[own, own + start] = np.inf
        # numpy's partition takes nine times as long
        nearest = torch.from_numpy(squared).topk(k, dim=1, largest=False).values
        radii[start : start + BLOCK] = nearest[:, -1].numpy()
    return radii


def _squared(a: Floats, b: Floats) -> Floats:
    """Return squared distances ``[N, M]``; what rounding alone can make of 0 is 0."""
    sizes_a, sizes_b = (a * a).sum(1), (b * b).sum(1)
    squared: Floats = sizes_a[:, None] + sizes_b - 2 * (a @ b.T)
    if squared.min() < 1e-12 * (sizes_a.max() + sizes_b.max()):  # else there is nothing to look for
        squared[squared < 1e-12 * (sizes_a[:, None] + sizes_b)] = 0.0
    return squared
