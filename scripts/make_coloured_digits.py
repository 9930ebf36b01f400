"""Make a folder of coloured digits, 3×32×32, to try colour with.

    python scripts/make_coloured_digits.py FOLDER [--data mnist] [--count 20000] [--seed 0]

Digits of a named set, each in a colour of its own on a darker ground of another, as PNG in a folder for each
class. Image i depends on (seed, i) and on the set alone.
"""

from __future__ import annotations

import argparse
import colorsys
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mulligan import data
from mulligan.data.resize import resize_images

SIDE = 32


def colour(digit: npt.NDArray[np.uint8], seed: int, i: int) -> npt.NDArray[np.uint8]:
    """Paint a grey digit ``[32, 32]``: uint8 ``[32, 32, 3]``."""
    rng = np.random.Generator(np.random.PCG64([seed, i]))
    hue, turn = rng.uniform(0, 1), rng.uniform(0.25, 0.75)
    ink = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.5, 1), rng.uniform(0.8, 1)))
    ground = np.array(colorsys.hsv_to_rgb((hue + turn) % 1, rng.uniform(0.3, 1), rng.uniform(0.1, 0.4)))
    share = digit[..., None] / 255
    pixels: npt.NDArray[np.uint8] = np.rint(255 * (share * ink + (1 - share) * ground)).astype(np.uint8)
    return pixels


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    digits = data.load(options.data)
    if digits.labels is None or digits.image_shape[0] != 1:
        sys.exit(f"--data {options.data}: expected grey images with labels")
    if options.folder.exists() and any(options.folder.iterdir()):
        sys.exit(f"{options.folder}: is not empty: name a new folder")
    large = resize_images(digits.images[: options.count], SIDE)[:, 0]
    for name in digits.class_names:
        (options.folder / name).mkdir(parents=True)
    for i, digit in enumerate(large):
        folder = options.folder / digits.class_names[digits.labels[i]]
        Image.fromarray(colour(digit, options.seed, i)).save(folder / f"{i:06d}.png")


if __name__ == "__main__":
    main()
