"""A trained generator's images, as files."""

from __future__ import annotations

from pathlib import Path

from mulligan import pictures
from mulligan.data.npz import write_npz
from mulligan.errors import UserError
from mulligan.model import Model, load

MAX_GRID = 10_000  # images in one PNG
KINDS = "FILE.png, FILE.npz, FILE.gif, FILE.webp or FOLDER/"


def write(
    source: str | Path,
    out: Path,
    *,
    n: int = 64,
    seed: int = 0,
    interpolate: int | None = None,
    device: str = "auto",
) -> str:
    """Draw images and write them as ``out``'s ending asks; return a line that says what was written.

    Raises:
        UserError: no such model, an ending that is not known, or a file that cannot be written.
    """
    suffix = out.suffix.lower()
    if interpolate is not None and suffix not in pictures.ANIMATIONS:
        raise UserError(f"--interpolate needs --out FILE.gif or FILE.webp, got {out}")
    if interpolate is None and suffix in pictures.ANIMATIONS:
        raise UserError(f"--out {out}: an animation needs --interpolate K, such as --interpolate 8")
    if suffix not in {"", ".png", ".npz", *pictures.ANIMATIONS}:
        raise UserError(f"--out {out}: cannot write {suffix}: expected {KINDS}")
    if suffix == ".png" and n > MAX_GRID:
        raise UserError(f"--out {out}: one grid holds at most {MAX_GRID:,} images: use FILE.npz or FOLDER/")
    model = load(source, device=device)
    try:
        return _write(model, out, suffix, n, seed, interpolate)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror or error}") from None


def _write(model: Model, out: Path, suffix: str, n: int, seed: int, interpolate: int | None) -> str:
    if suffix:
        out.parent.mkdir(parents=True, exist_ok=True)
    if interpolate is not None:
        frames = [
            pictures.grid(image[None], scale=6, gap=0) for image in model.interpolate(interpolate, seed)
        ]
        pictures.save_animation(out, frames, milliseconds=60)
        return f"{out}: {len(frames)} frames"
    if suffix == ".png":
        pictures.save_png(out, pictures.grid(model.sample(n, seed)))
        return f"{out}: {n} images"
    if suffix == ".npz":
        write_npz(out, model.sample(n, seed))
        return f"{out}: {n} images, uint8 [N, C, H, W]"
    if out.exists() and any(out.iterdir()):
        raise UserError(f"--out {out}: is not empty: name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    number = 0
    for chunk in model.chunks(n, seed):
        for image in chunk:
            pictures.save_png(out / f"{number:06d}.png", pictures.grid(image[None], scale=1, gap=0))
            number += 1
    return f"{out}/: {n} PNG files"
