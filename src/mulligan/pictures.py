"""Grids and animations of uint8 images."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mulligan.errors import UserError
from mulligan.files import write_atomically

ANIMATIONS = {".gif": "GIF", ".webp": "WEBP"}
MOST_PIXELS = 1 << 25  # of a picture that is opened at all

Pixels = npt.NDArray[np.uint8]


def grid(images: Pixels, columns: int | None = None, *, scale: int = 2, gap: int = 2) -> Image.Image:
    """Lay images ``[N, C, H, W]``, uint8, out in rows, each pixel enlarged ``scale`` times.

    Without ``columns`` the grid is as square as N allows.
    """
    n, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    cell = (height + gap, width + gap)
    sheet = np.full((rows * cell[0] + gap, columns * cell[1] + gap, channels), 32, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = gap + i // columns * cell[0], gap + i % columns * cell[1]
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    picture = Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


SCATTER = 400  # pixels a side


def scatter(points: npt.NDArray[np.float32]) -> Image.Image:
    """Plot points in a plane, float32 ``[N, 2, 1, 1]``: brighter where there are more.

    The window is −1.5..1.5 where nearly all of them lie in it, else −5..5.
    """
    flat = points.reshape(len(points), 2)
    limit = 1.5 if np.quantile(np.abs(flat), 0.95) < 1.5 else 5.0
    counts, _, _ = np.histogram2d(-flat[:, 1], flat[:, 0], bins=SCATTER, range=[[-limit, limit]] * 2)
    shade = np.minimum(counts * 96, 255).astype(np.uint8)
    return Image.fromarray(shade)


def draw(samples: Pixels, columns: int | None = None) -> Image.Image:
    """Lay images out in a grid, or plot points."""
    return grid(samples, columns) if samples.dtype == np.uint8 else scatter(samples.astype(np.float32))


def save_png(path: Path, picture: Image.Image) -> None:
    """Write a PNG atomically."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=False)
    write_atomically(path, buffer.getvalue())


def open_png(path: Path) -> Image.Image:
    """Read a PNG file, as grey or as three colours.

    Raises:
        UserError: it is no such picture, is damaged, or is enormous.
    """
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise UserError(f"{path}: {picture.width}×{picture.height} pixels are too many to be shown")
            return picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: is damaged: expected a PNG file") from None


def save_animation(path: Path, frames: Sequence[Image.Image], *, milliseconds: int = 100) -> None:
    """Write a looping GIF or WebP atomically; the last frame stays a second longer.

    Raises:
        UserError: the path ends in neither ``.gif`` nor ``.webp``.
    """
    kind = ANIMATIONS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: an animation is written as .gif or .webp")
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(frames) - 1) + [milliseconds + 1000]
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(
        buffer, format=kind, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options
    )
    write_atomically(path, buffer.getvalue())


def save_time_lapse(path: Path, frames: Iterable[Path]) -> None:
    """Make an animation of PNG files."""
    pictures = [Image.open(frame, formats=["PNG"]) for frame in frames]
    if pictures:
        save_animation(path, pictures)
    for picture in pictures:
        picture.close()
