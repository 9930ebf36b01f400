"""``mulligan generate`` and ``mulligan info``: what a trained generator makes, and what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulligan.errors import UserError, printable

Source = Annotated[
    Path, typer.Argument(help="A run directory, a checkpoint file, or mnist.", show_default=False)
]


def generate(
    source: Source,
    n: Annotated[
        int | None,
        typer.Option(
            "-n", min=1, max=10_000_000, help="How many images.  [default: as many as labels, or 64]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Image i of a seed is always the same.")] = 0,
    out: Annotated[
        Path,
        typer.Option(
            help="FILE.png (one grid), .npz, .gif or .webp, which is replaced, or a new FOLDER/ of PNGs."
        ),
    ] = Path("generated.png"),
    labels: Annotated[
        str | None,
        typer.Option(help="Classes for a conditional model, by number or name: 2,0,2,6, or one for all."),
    ] = None,
    interpolate: Annotated[
        int | None,
        typer.Option(
            min=1, max=240, help="Walk through 8 images of one label, K steps each; --out FILE.gif or .webp."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Draw images from a trained generator."""
    from mulligan import generation

    classes = None if labels is None else _parse_labels(labels)
    written = generation.write(
        source, out, n=n, seed=seed, labels=classes, interpolate=interpolate, device=device
    )
    if written:
        print(written)


def _parse_labels(text: str) -> list[str]:
    labels = [part.strip() for part in text.split(",")]
    if not all(labels):
        raise UserError(f"--labels {text}: expected classes between commas, such as 2,0,2,6")
    return labels


def info(source: Source) -> None:
    """Say what a run directory or a checkpoint holds."""
    from mulligan import model

    loaded = model.load(source)
    about, recipe = loaded.about, loaded.recipe
    data = about.data
    colours, height, width = loaded.image_shape
    weights = sum(p.numel() for p in loaded.sampler.generator.parameters())
    made = "points in a plane" if loaded.makes_points else f"uint8 images of {colours}×{height}×{width}"
    lines = {
        "checkpoint": str(loaded.path),
        "recipe": f"{recipe.name}, {recipe.title}" if recipe.title else recipe.name,
        "trained": f"{about.images:,} images, {about.steps:,} steps, {about.seconds:.1f} s",
        "seed": str(about.seed),
        "data": f"{data.name}, {data.images:,} images, sha256 {data.sha256[:16]}…",
        "makes": f"{made} from {recipe.latent.size} numbers",
        "generator": f"{recipe.generator.kind}, {weights:,} weights",
        "objective": recipe.objective.kind,
    }
    if loaded.sampler.conditions.parts:
        asked = "; --labels asks for one" if loaded.sampler.conditions.classes else ""
        lines["told of"] = f"{loaded.sampler.conditions}{asked}"
        if asked and data.class_names != tuple(map(str, range(len(data.class_names)))):
            named = ", ".join(f"{i} {name}" for i, name in enumerate(data.class_names[: model.SHOWN]))
            lines["classes"] = named + (", …" if len(data.class_names) > model.SHOWN else "")
    for name, value in lines.items():
        print(f"{name + ':':<12} {printable(value)}")
