"""Sets whose modes are known, so that what a GAN has forgotten can be counted.

Two mixtures of Gaussians in the plane and the stacked digits, as in the experiments of PacGAN (Lin
et al. 2018, arXiv 1712.04086, section 4), whose numbers, taken from its authors' configurations,
are the defaults here. They follow VEEGAN (Srivastava et al. 2017, arXiv 1705.07761), the stacked
digits unrolled GANs (Metz et al. 2017, arXiv 1611.02163).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mulligan import seeds
from mulligan.errors import UserError

Points = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plane:
    """A mixture of Gaussians in the plane, each as likely.

    By the protocol a point is of high quality within three standard deviations of a centre.

    Attributes:
        stream: Of random numbers, for seeds.
        centres: float64 ``[K, 2]``, in the order of the labels.
        std: The standard deviation of each.
    """

    stream: str
    centres: npt.NDArray[np.float64]
    std: float

    def draw(self, n: int = 100_000, seed: int = 0) -> tuple[Points, Labels]:
        """Draw n points, the protocol's 100,000 without; the same seed gives the same.

        Returns:
            Points, float32 ``[n, 2, 1, 1]``, and the index of the Gaussian each is from, int64 ``[n]``.
        """
        rng = _rng(seeds.derive(seed, self.stream))
        labels = rng.integers(len(self.centres), size=n)
        points = self.centres[labels] + self.std * rng.standard_normal((n, 2))
        return points.astype(np.float32)[:, :, None, None], labels


_ANGLES = 2 * np.pi * np.arange(8) / 8
_TICKS = np.arange(-4.0, 5.0, 2.0)
PLANES = {
    "ring-8": Plane("ring", np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1), 0.01),
    "grid-25": Plane(
        "grid", np.stack(np.meshgrid(_TICKS, _TICKS, indexing="ij"), axis=-1).reshape(-1, 2), 0.05
    ),
}


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


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))
