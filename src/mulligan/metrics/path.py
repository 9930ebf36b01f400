"""How straight the way through latent space looks."""

from __future__ import annotations

import numpy as np

from mulligan.metrics.estimate import Estimate, Floats, checked, mean


def path_length(features: Floats, unit: float) -> Estimate:
    """Return the mean squared speed of features along latent walks, in units of ``unit``.

    1 is a straight and even walk between images as unlike as two real ones; detours and jumps
    raise it, and a generator that hardly changes stays below. The perceptual path length of Karras
    et al. 2019 (arXiv 1812.04948, section 4.1) over finite steps, since pixels are whole numbers.

    Args:
        features: float64 ``[walks, stops, D]``.
        unit: Mean squared distance between two real images.
    """
    steps = features.shape[1] - 1
    speeds = ((np.diff(features, axis=1) * steps) ** 2).sum(2).mean(1)
    return mean(speeds / unit, least=0.0)


def mean_squared_distance(features: Floats) -> float:
    """Return E‖x − y‖² over pairs of different rows of ``[N, D]``: twice the covariance's trace."""
    return 2 * float(checked(features).var(0, ddof=1).sum())
