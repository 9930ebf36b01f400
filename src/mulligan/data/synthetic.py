"""Sets whose modes are known, so that what a GAN has forgotten can be counted.

Two mixtures of Gaussians in the plane and the stacked digits, as in the experiments of PacGAN (Lin
et al. 2018, arXiv 1712.04086, section 4), whose numbers, taken from its authors' configurations,
are the defaults here. They follow VEEGAN (Srivastava et al. 2017, arXiv 1705.07761), the stacked
digits unrolled GANs (Metz et al. 2017, arXiv 1611.02163).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from mulligan import seeds
from mulligan.errors import UserError

Points = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

RING_STD, GRID_STD = 0.01, 0.05


def ring(n: int = 100_000, modes: int = 8, seed: int = 0) -> tuple[Points, Labels]:
    """Draw the 2D-ring: Gaussians of standard deviation 0.01, evenly on the unit circle.

    Args:
        n: Points; the protocol's 100,000.
        modes: Gaussians, each as likely; the protocol's 8.
        seed: The same seed gives the same points.

    Returns:
        Points, float32 ``[n, 2, 1, 1]``, and the index of the Gaussian each is from, int64 ``[n]``.
    """
    return _mixture(n, *_ring(modes), seeds.derive(seed, "ring"))


def grid(n: int = 100_000, side: int = 5, seed: int = 0) -> tuple[Points, Labels]:
    """Draw the 2D-grid: Gaussians of standard deviation 0.05 at distances of 2, in a square around 0.

    Args:
        n: Points; the protocol's 100,000.
        side: Gaussians on each side; the protocol's 5, at −4, −2, 0, 2, 4.
        seed: The same seed gives the same points.

    Returns:
        Points, float32 ``[n, 2, 1, 1]``, and the index of the Gaussian each is from, int64 ``[n]``.
    """
    return _mixture(n, *_grid(side), seeds.derive(seed, "grid"))


def modes(name: Literal["ring", "grid"], size: int | None = None) -> tuple[npt.NDArray[np.float64], float]:
    """Return the centres, float64 ``[K, 2]`` in the order of the labels, and the standard deviation.

    By the protocol a point is of high quality within three standard deviations of a centre.

    Args:
        name: ``ring`` or ``grid``.
        size: The ring's ``modes`` or the grid's ``side``; the protocol's without.
    """
    return _ring(size or 8) if name == "ring" else _grid(size or 5)


def stacked(
    images: npt.NDArray[np.uint8], labels: Labels, n: int = 128_000, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], Labels]:
    """Stack three random digits, with replacement, as the channels of each image: 1,000 modes.

    Args:
        images: uint8 ``[N, 1, H, W]``.
        labels: int64 ``[N]``, 0..9.
        n: Images to make; PacGAN's 128,000.
        seed: The same seed gives the same images.

    Returns:
        Images, uint8 ``[n, 3, H, W]``, and labels 100a + 10b + c of digits a, b, c, int64 ``[n]``.

    Raises:
        UserError: the images have more than one channel, or labels that are no digits.
    """
    if images.shape[1] != 1:
        raise UserError(f"stacked digits are made of grey images, got {images.shape[1]} channels")
    if labels.min() < 0 or labels.max() > 9:
        raise UserError(f"stacked digits need labels 0..9, got {labels.min()}..{labels.max()}")
    picks = _rng(seeds.derive(seed, "stacked")).integers(len(images), size=(n, 3))
    return images[picks, 0], labels[picks] @ np.array([100, 10, 1])


def _ring(modes: int) -> tuple[npt.NDArray[np.float64], float]:
    if modes < 1:
        raise UserError(f"a ring has at least 1 mode, got {modes}")
    angles = 2 * np.pi * np.arange(modes) / modes
    return np.stack([np.cos(angles), np.sin(angles)], axis=1), RING_STD


def _grid(side: int) -> tuple[npt.NDArray[np.float64], float]:
    if side < 1:
        raise UserError(f"a grid has a side of at least 1, got {side}")
    ticks = 2.0 * np.arange(side) - (side - 1)
    return np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2), GRID_STD


def _mixture(n: int, centres: npt.NDArray[np.float64], std: float, seed: int) -> tuple[Points, Labels]:
    rng = _rng(seed)
    labels = rng.integers(len(centres), size=n)
    points = centres[labels] + std * rng.standard_normal((n, 2))
    return points.astype(np.float32)[:, :, None, None], labels


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))
