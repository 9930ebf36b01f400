"""Make a large folder of images to try large folders with.

    python scripts/make_big_folder.py FOLDER [--count 200000] [--seed 0]

Coloured discs, boxes and rings of 64×64 pixels before a slanting gradient, as PNG. Image i depends on
(seed, i) alone, so that a smaller folder is the beginning of a larger one. 200,000 take two minutes
and 0.5 GB.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 64
ACROSS, DOWN = np.meshgrid(*[np.linspace(-1, 1, SIDE, dtype=np.float32)] * 2)


def draw(seed: int, i: int) -> npt.NDArray[np.uint8]:
    """Draw an image, uint8 ``[64, 64, 3]``."""
    rng = np.random.Generator(np.random.PCG64([seed, i]))
    x, y, size, angle = rng.uniform((-0.5, -0.5, 0.2, 0), (0.5, 0.5, 0.5, 2 * np.pi)).astype(np.float32)
    colours = rng.integers(0, 256, (3, 3)).astype(np.float32)
    along = (np.cos(angle) * ACROSS + np.sin(angle) * DOWN + 1.5) / 3
    image = colours[0] + along[..., None] * (colours[1] - colours[0])
    across, down = np.abs(ACROSS - x), np.abs(DOWN - y)
    match i % 3:
        case 0:
            inside = across**2 + down**2 < size**2
        case 1:
            inside = np.maximum(across, down) < size
        case _:
            inside = np.abs(np.sqrt(across**2 + down**2) - size) < 0.1
    image[inside] = colours[2]
    pixels: npt.NDArray[np.uint8] = image.clip(0, 255).astype(np.uint8)
    return pixels


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if any(options.folder.iterdir()):
        sys.exit(f"{options.folder}: is not empty: name a new folder")
    for i in range(options.count):
        Image.fromarray(draw(options.seed, i)).save(options.folder / f"{i:06d}.png", compress_level=1)
        if (i + 1) % 10_000 == 0:
            print(f"{i + 1:,} of {options.count:,}", flush=True)


if __name__ == "__main__":
    main()
