"""``mulligan evaluate`` and ``mulligan reference``: how good a generator is, and what it is judged by."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mulligan.errors import UserError


def evaluate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A run directory, a checkpoint, a folder of images, an .npz file or a set's name.",
            show_default=False,
        ),
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            help="mnist, ring-8, grid-25, stacked-mnist, or a folder that `mulligan reference` made.  "
            "[default: what the source was trained on]"
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("-n", help="How many images.  [default: 10,000 of a generator, all of a file]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the generator's images.")] = 0,
    json_: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write the card as JSON; - for standard output."),
    ] = None,
    neighbours: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Show the images nearest to a training image, beside it."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do without the slowest row, train on it and test on real.")
    ] = False,
    inception: Annotated[
        bool, typer.Option("--inception", help="Add FID and KID by Inception (needs mulligan[inception]).")
    ] = False,
    inception_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its weights, where they cannot be fetched.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Judge images against real ones: a scorecard with error bars and floors."""
    from mulligan import distributed, model, scorecard
    from mulligan.errors import printable, similar
    from mulligan.files import write_json
    from mulligan.runlog import check_writable

    if neighbours is not None and neighbours.suffix.lower() != ".png":
        raise UserError(f"--neighbours {neighbours}: expected FILE.png")
    if not distributed.leads():
        scorecard.assist(source, reference=reference, n=n, seed=seed, device=device)
        return
    if inception_weights is not None and not inception_weights.is_file():
        raise UserError(f"--inception-weights {inception_weights}: no such file{similar(inception_weights)}")
    files = [path for path in (json_, neighbours) if path is not None and str(path) != "-"]
    for path in files:
        check_writable(path)
    if generator := model.shipped(source):
        print(f"note: {source} is the set here; the generator in the package is {generator}", file=sys.stderr)
    card = scorecard.evaluate(source, reference=reference, n=n, seed=seed, device=device, thorough=not quick)
    if inception:
        weights = None if inception_weights is None else str(inception_weights)
        card = scorecard.with_inception(card, source, n=n, seed=seed, device=device, weights=weights)
    if str(json_) == "-":
        print(json.dumps(card.to_json(), indent=2, allow_nan=False))
    else:
        print("\n".join(map(printable, card.lines())))
    try:
        for path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
        if json_ is not None and str(json_) != "-":
            write_json(json_, card.to_json())
        if neighbours is not None:
            from mulligan import pictures

            pairs = scorecard.neighbours(source, card.reference if reference is None else reference, n, seed)
            pictures.save_png(neighbours, pictures.grid(pairs, 8))
    except OSError as error:
        raise UserError(f"{json_ or neighbours}: cannot be written: {error.strerror}") from None


def reference(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="mnist, fashion-mnist, kmnist, digits, a folder of images or an .npz file.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to make, new or empty.")],
    size: Annotated[int | None, typer.Option(min=8, max=128, help="Resize images to S×S pixels.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Updates of the evaluator, of 128 images.")] = 6000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same machine, same bits.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Make what generators of your own images are judged by: an evaluator, floors, statistics."""
    from mulligan import data as data_room
    from mulligan import scorecard
    from mulligan.cli.console import reading
    from mulligan.runlog import check_unused, check_writable
    from mulligan.training import source_of

    check_unused(out)
    check_writable(out / "reference")
    with reading(quiet) as on_data:
        training = data_room.load(data, size=size, progress=on_data)
    test = data_room.load(data, size=size, split="test") if data_room.has_test(training.name) else None
    made = scorecard.build(
        training,
        test,
        name=training.name,
        source=None if size is not None else source_of(data, training.name),
        steps=steps,
        seed=seed,
        say=(lambda _text: None) if quiet else (lambda text: print(text, flush=True)),
    )
    try:
        scorecard.save(out, made)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror}") from None
    if not quiet:
        print(f"use it:    mulligan evaluate SOURCE --reference {shlex.quote(str(out))}")
