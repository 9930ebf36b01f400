"""One way to bring any image to a square of a given size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from mulligan.errors import UserError

MAX_SIZE = 1024


def check_size(size: int) -> None:
    """Raise UserError unless `size`, in pixels, is a whole number in 1..1024."""
    if not hasattr(size, "__index__") or not 1 <= size <= MAX_SIZE:
        raise UserError(f"image size: expected 1..{MAX_SIZE} pixels, got {size!r}")


def fit_square(image: Image.Image, size: int) -> Image.Image:
    """Return the largest centred square of the image, ``size × size`` pixels.

    Lanczos, which keeps strokes crisp in either direction and, in Pillow, averages over all
    pixels when it shrinks, so that nothing aliases.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: with resize's own `box`, the filter would reach what lies outside it.
    square = image.crop((left, top, left + side, top + side))
    return square if side == size else square.resize((size, size), Image.Resampling.LANCZOS)


def resize_images(images: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Bring images, uint8 ``[N, C, H, W]``, to uint8 ``[N, C, size, size]`` as `fit_square` does.

    Raises:
        UserError: the size is out of range.
    """
    check_size(size)
    n, c, h, w = images.shape
    if h == w == size:
        return images
    fitted = np.empty((n, c, size, size), np.uint8)
    for plane, out in zip(images.reshape(-1, h, w), fitted.reshape(-1, size, size), strict=True):
        out[:] = np.asarray(fit_square(Image.fromarray(plane), size))
    return fitted
