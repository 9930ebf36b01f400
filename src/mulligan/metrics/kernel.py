"""The kernel distance between two sets of features (Bińkowski et al. 2018, arXiv 1801.01401)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mulligan.metrics.estimate import NORMAL, Estimate, Floats, around, checked_pair

BLOCK = 256  # rows of the kernel matrix held at once


def kernel_distance(generated: npt.ArrayLike, reference: npt.ArrayLike) -> Estimate:
    """Return the unbiased squared maximum mean discrepancy under the kernel (x·y/D + 1)³.

    All pairs are used, no subsets. The interval is normal, by the standard error of the
    U-statistic's first-order projection; equal distributions give values on both sides of 0.

    Raises:
        UserError: the features cannot be compared.
    """
    x, y = checked_pair(generated, reference)
    n, m = len(x), len(y)
    within_x, within_y = (_row_sums(a, a) - _kernel_diagonal(a) for a in (x, y))
    x_to_y, y_to_x = _row_sums(x, y), _row_sums(y, x)
    value = within_x.sum() / (n * (n - 1)) + within_y.sum() / (m * (m - 1)) - 2 * x_to_y.sum() / (n * m)
    of_x = within_x / (n - 1) - x_to_y / m  # half of the projection onto each image
    of_y = within_y / (m - 1) - y_to_x / n
    variance = 4 * (of_x.var(ddof=1) / n + of_y.var(ddof=1) / m)
    return around(float(value), NORMAL * float(np.sqrt(variance)))


def _row_sums(a: Floats, b: Floats) -> Floats:
    """Return Σ_j k(a_i, b_j) for each i."""
    return np.concatenate(
        [_kernel(a[i : i + BLOCK] @ b.T, a.shape[1]).sum(1) for i in range(0, len(a), BLOCK)]
    )


def _kernel_diagonal(a: Floats) -> Floats:
    return _kernel((a * a).sum(1), a.shape[1])


def _kernel(products: Floats, dimensions: int) -> Floats:
    products /= dimensions
    products += 1
    cubed: Floats = products * products
    cubed *= products
    return cubed
