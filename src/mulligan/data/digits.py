"""The 1,797 digits that come with the package: a set for when there is no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mulligan.data.dataset import Dataset
from mulligan.data.npz import read_npz
from mulligan.data.resize import check_size

_FILE = Path(__file__).with_name("digits.npz")
_PADDING = 2
# MNIST's digits are 20 pixels high in a canvas of 28. These fill 8 pixels, so theirs is 11.2.
_CANVAS = 8 * 28 / 20
# The values, of 0..1, that become black and white. With these the share of ink, of grey among
# the ink and the width of the strokes are those of MNIST; without, the digits are a blur.
_BLACK, _WHITE = 0.35, 0.80


def read_digits(size: int = 28) -> Dataset:
    """Return the UCI optical-recognition digits, enlarged to look like MNIST's.

    The 8×8 originals, drawn in 17 greys, are enlarged by Lanczos interpolation, given MNIST's
    margin (4 pixels of 28) and a steeper contrast. The result is the same on every call.

    Args:
        size: Height and width of the images, 1..1024 pixels.

    Returns:
        1,797 images, uint8 ``[1797, 1, size, size]``, with labels 0..9.

    Raises:
        UserError: the size is out of range.
    """
    check_size(size)
    small, labels = read_npz(_FILE)
    padded = np.pad(small[:, 0], ((0, 0), (_PADDING, _PADDING), (_PADDING, _PADDING)))
    grey = (padded.astype(np.float64) * 255 / 16).round().astype(np.uint8)
    near, far = (grey.shape[1] - _CANVAS) / 2, (grey.shape[1] + _CANVAS) / 2
    levels = np.clip((np.arange(256) / 255 - _BLACK) / (_WHITE - _BLACK), 0, 1)
    curve = (levels * 255).round().astype(np.uint8)
    images = np.empty((len(grey), 1, size, size), np.uint8)
    for image, out in zip(grey, images, strict=True):
        large = Image.fromarray(image).resize(
            (size, size), Image.Resampling.LANCZOS, box=(near, near, far, far)
        )
        out[0] = curve[np.asarray(large)]
    return Dataset("digits", images, labels, class_names=tuple("0123456789"))
