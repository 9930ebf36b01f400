"""The sliced Wasserstein distance (Rabin et al. 2011; Bonneel et al. 2015)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mulligan import seeds
from mulligan.metrics.estimate import Estimate, Floats, checked_pair, groups_of, jackknife

DIRECTIONS = 128
QUANTILES = 1000


def sliced_wasserstein(generated: npt.ArrayLike, reference: npt.ArrayLike, seed: int = 0) -> Estimate:
    """Return the root of the mean squared 2-Wasserstein distance along 128 random directions.

    Along one direction the distance is that between sorted projections; sets of different size are
    compared at 1,000 evenly spaced quantiles. The interval is a jackknife over 20 groups of the
    generated images, the directions being the same in every score.

    Raises:
        UserError: the features cannot be compared.
    """
    fake, real = checked_pair(generated, reference)
    rng = np.random.Generator(np.random.PCG64(seeds.derive(seed, "directions")))
    directions = rng.standard_normal((fake.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    onto_fake, target = fake @ directions, _quantiles(real @ directions)
    whole = _distance(onto_fake, target)
    without = [_distance(np.delete(onto_fake, group, axis=0), target) for group in groups_of(len(fake))]
    return jackknife(whole, without, least=0.0)


def _distance(projected: Floats, target: Floats) -> float:
    return float(np.sqrt(((_quantiles(projected) - target) ** 2).mean()))


def _quantiles(projected: Floats) -> Floats:
    """Return quantiles (i + ½)/1000 of each column: ``[1000, directions]``."""
    at = (np.arange(QUANTILES) + 0.5) / QUANTILES
    ordered = np.sort(projected, axis=0)
    found: Floats = ordered[np.minimum((at * len(ordered)).astype(int), len(ordered) - 1)]
    return found
