"""Pictures that travel inside a page: small, and as data."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mulligan import runlog
from mulligan.pictures import open_png

SIDE = 512  # pixels that a picture has at most, either way
LARGE = 24_000  # bytes from which a picture may be written with loss
RAW = 150_000  # bytes of pixels from which it is, without asking what it would come to otherwise

Pixels = npt.NDArray[np.uint8]
Frame = dict[str, Any]  # a picture and the images seen when it was drawn


def embed(picture: Image.Image, side: int = SIDE) -> str:
    """Return a picture as a ``data:`` address: PNG where that is small, else WebP with some loss."""
    picture = _halved(picture)
    if max(picture.size) > side:
        picture = picture.copy()
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    if picture.width * picture.height * len(picture.getbands()) > RAW:
        kind, raw = "webp", _encoded(picture, "WEBP")
    else:
        kind, raw = "png", _encoded(picture, "PNG")
        if len(raw) > LARGE and len(smaller := _encoded(picture, "WEBP")) < len(raw):
            kind, raw = "webp", smaller
    return f"data:image/{kind};base64,{base64.b64encode(raw).decode()}"


def embed_file(path: Path, side: int = SIDE) -> str:
    """Return a PNG file as a ``data:`` address.

    Raises:
        UserError: it is no picture, or is damaged.
    """
    return embed(open_png(path), side)


def embed_array(image: Pixels) -> str:
    """Return an image ``[C, H, W]``, uint8, as a ``data:`` address."""
    shown = image.transpose(1, 2, 0)
    return embed(
        Image.fromarray(np.ascontiguousarray(shown[:, :, 0] if shown.shape[2] == 1 else shown[:, :, :3]))
    )


def frames(run: Path, most: int) -> list[Frame]:
    """Embed a run's sample pictures: at most so many, evenly spread, the last always.

    Raises:
        UserError: one is damaged.
    """
    found = [(images, path) for images, path in runlog.pictures(run / runlog.SAMPLES) if images < 10**18]
    chosen = (found[i] for i in spread(len(found), most))
    return [{"images": images, "src": embed_file(path)} for images, path in chosen]


def spread(n: int, most: int) -> Sequence[int]:
    """Return at most so many of 0..n-1, evenly, the last among them, the first if there are two."""
    if n <= most:
        return range(n)
    if most == 1:
        return [n - 1]
    return [round(i * (n - 1) / (most - 1)) for i in range(most)]


def _halved(picture: Image.Image) -> Image.Image:
    """Undo an enlargement by two, as grids have it; the page enlarges them again."""
    if picture.width % 2 or picture.height % 2:
        return picture
    pixels = np.asarray(picture)
    small = pixels[::2, ::2]
    if all((pixels[y::2, x::2] == small).all() for y, x in ((0, 1), (1, 0), (1, 1))):
        return Image.fromarray(np.ascontiguousarray(small))
    return picture


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "WEBP":
        picture.convert("RGB").save(buffer, format="WEBP", quality=72, method=1)
    else:
        picture.save(buffer, format="PNG")
    return buffer.getvalue()
