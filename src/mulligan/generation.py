"""A trained generator's images, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mulligan import distributed, hardware, pictures
from mulligan.data.npz import write_npz
from mulligan.errors import UserError
from mulligan.model import Model, load

MAX_GRID = 10_000  # images in one PNG
KINDS = "FILE.png, FILE.npz, FILE.gif, FILE.webp or FOLDER/"


def write(
    source: str | Path,
    out: Path,
    *,
    n: int | None = None,
    seed: int = 0,
    labels: Sequence[int | str] | None = None,
    interpolate: int | None = None,
    device: str = "auto",
) -> str:
    """Draw images and write them as ``out``'s ending asks; return a line that says what was written.

    Without ``n`` there are as many images as labels, or 64.

    Processes that ``torchrun`` started share the drawing; the first alone writes.

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
    if interpolate is not None and n is not None:
        raise UserError(f"-n {n}: --interpolate always walks through 8 images: leave -n out")
    if n is None:
        n = len(labels) if labels is not None and len(labels) > 1 else 64
    if suffix == ".png" and n > MAX_GRID:
        raise UserError(f"--out {out}: one grid holds at most {MAX_GRID:,} images: use FILE.npz or FOLDER/")
    if interpolate is not None and labels is not None and len(labels) != 1:
        raise UserError(f"--labels: a walk keeps to one label, got {len(labels)}")
    group = distributed.join(hardware.device(device))
    model = load(source, device=device, group=group)
    if model.makes_points and suffix != ".npz":
        raise UserError(f"--out {out}: this model draws points in a plane, not images: use FILE.npz")
    asked = model.numbered(labels)
    model.sampler.conditions.labels(
        n if interpolate is None else 1, asked
    )  # refused before anything is drawn
    if group and group.rank > 0:
        for _ in model.chunks(n, seed, asked) if interpolate is None else ():
            pass  # the leader has got them
        return ""
    try:
        return _write(model, out, suffix, n, seed, asked, interpolate)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror or error}") from None


def _write(
    model: Model,
    out: Path,
    suffix: str,
    n: int,
    seed: int,
    labels: Sequence[int] | None,
    interpolate: int | None,
) -> str:
    if suffix:
        out.parent.mkdir(parents=True, exist_ok=True)
    if interpolate is not None:
        images = model.interpolate(interpolate, seed, labels[0] if labels else None)
        frames = [pictures.grid(image[None], scale=6, gap=0) for image in images]
        pictures.save_animation(out, frames, milliseconds=60)
        return f"{out}: {len(frames)} frames"
    if suffix == ".png":
        pictures.save_png(out, pictures.grid(model.sample(n, seed, labels)))
        return f"{out}: {n} images"
    if suffix == ".npz":
        write_npz(out, model.sample(n, seed, labels), model.sampler.conditions.labels(n, labels))
        return (
            f"{out}: {n} points, float32 [N, 2, 1, 1]"
            if model.makes_points
            else f"{out}: {n} images, uint8 [N, C, H, W]"
        )
    if out.exists() and any(out.iterdir()):
        raise UserError(f"--out {out}: is not empty: name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    numbered = (image for chunk in model.chunks(n, seed, labels) for image in chunk)
    for number, image in enumerate(numbered):
        pictures.save_png(out / f"{number:06d}.png", pictures.grid(image[None], scale=1, gap=0))
    return f"{out}/: {n} PNG files"
