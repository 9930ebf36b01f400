"""``mulligan arena`` and ``mulligan sweep``: many runs, and what may be said of the difference."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mulligan.errors import UserError

if TYPE_CHECKING:
    from mulligan.arena import Mark

Minutes = Annotated[
    str | None, typer.Option(help="Budget in minutes of training; 1,5 scores each run after 1 and after 5.")
]
TrialMinutes = Annotated[str | None, typer.Option(help="Budget of a trial in minutes of training.")]
Images = Annotated[int | None, typer.Option(min=1, help="Budget: real images shown to D.")]
Data = Annotated[str, typer.Option(help="As in train.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of every recipe; repeatable."),
]
Reference = Annotated[str | None, typer.Option(help="As in evaluate.")]


def arena(
    recipe: Annotated[
        list[str], typer.Argument(metavar="RECIPE…", help="Names or TOML files.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Directory; the same command with the same one goes on.")],
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Runs of each recipe: seeds 0, 1, …")] = 3,
    images: Images = None,
    minutes: Minutes = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Runs at once, sharing the cores.")] = 1,
    data: Data = "auto",
    set_: Set = None,
    reference: Reference = None,
    n: Annotated[int, typer.Option("-n", min=10, help="Images in a score.")] = 10_000,
    quick: Annotated[bool, typer.Option("--quick", help="As in evaluate.")] = False,
) -> None:
    """Compare recipes: every one with several seeds under one budget, scored by the same card."""
    from mulligan import hardware, reporting
    from mulligan import recipe as recipes
    from mulligan.arena import Contest, figure, hold, results

    contest = Contest(
        tuple(recipe), seeds, marks(images, minutes), data, tuple(set_ or ()), reference, n, quick, jobs
    )
    contest.names()  # refused before anything is written
    for size in {recipes.read(one, contest.overrides).data.size for one in recipe}:
        _check_reference(data, size, reference)
    try:
        outcomes = hold(contest, out, lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        _say_how_to_go_on(out)
        raise
    environment = hardware.environment(hardware.device("auto")) | {
        "command": shlex.join(["mulligan", *sys.argv[1:]]),
        "jobs": jobs,
        "rules": contest.rules(),
    }
    try:
        rows = results.write(out, outcomes, environment)
        print("\n".join(results.table(rows)))
        print(f"written:   {out}/arena.json, {out}/arena.csv")
        try:
            figure.draw(out / "arena.png", outcomes)
            print(f"figure:    {out}/arena.png")
        except UserError as error:
            print(f"no figure: {error}")
        runs = [(cell.name, cell.seed, cell.run) for cell, _ in outcomes]
        print(f"report:    {reporting.contest(out, results.cells_of(rows), runs)}")
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror}") from None


def marks(images: int | None, minutes: str | None) -> tuple[Mark, ...]:
    """Read the budget of a contest.

    Raises:
        UserError: neither or both are given, or the minutes do not increase.
    """
    from mulligan.arena import Mark

    if (images is None) == (minutes is None):
        raise UserError("the budget: expected either --images N or --minutes M")
    if minutes is None:
        return (Mark(images=images),)
    try:
        values = [float(part) for part in minutes.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 < value < 1e6 for value in values) or values != sorted(set(values)):
        raise UserError(f"--minutes {minutes}: expected numbers above 0 that increase, such as 1,5")
    return tuple(Mark(minutes=value) for value in values)


def _check_reference(data: str, size: int, reference: str | None) -> str:
    """Refuse what could not be scored before anything trains; return by what it will be."""
    from mulligan import data as data_room
    from mulligan import scorecard

    dataset = data_room.load(data, default_size=size)
    if reference is None:
        return scorecard.suited(dataset.name, dataset.sha256, dataset.image_shape)
    scorecard.check_suits(reference, dataset.image_shape)
    return reference


def _say_how_to_go_on(out: Path) -> None:
    print(f"mulligan: stopped; the same command goes on: --out {shlex.quote(str(out))}", file=sys.stderr)


def sweep(
    recipe: Annotated[str, typer.Argument(help="A name or a TOML file.", show_default=False)],
    range_: Annotated[
        list[str],
        typer.Option(
            "--range",
            metavar="KEY=LOW:HIGH[:log]",
            help="Where to search a key of the recipe, or KEY=A,B,C; repeatable.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory; several processes may work on one.")],
    trials: Annotated[int, typer.Option(min=1, max=100_000, help="Trials in all.")] = 20,
    images: Images = None,
    minutes: TrialMinutes = None,
    data: Data = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of every run, and of the proposals.")] = 0,
    set_: Set = None,
    reference: Reference = None,
    n: Annotated[int, typer.Option("-n", min=10, help="Images in a score.")] = 5000,
) -> None:
    """Search a recipe's values for the least Fréchet distance (needs mulligan[sweep])."""
    from mulligan import recipe as recipes
    from mulligan import scorecard
    from mulligan import sweep as sweeping

    budget = marks(images, minutes)
    if len(budget) > 1:
        raise UserError(f"--minutes {minutes}: a trial is scored once: expected one number")
    wanted = sweeping.Sweep(
        recipe,
        tuple(map(sweeping.read_range, range_)),
        budget[0],
        data,
        seed,
        tuple(set_ or ()),
        reference,
        n,
    )
    wanted.check()
    judge = _check_reference(data, recipes.read(recipe, wanted.overrides).data.size, reference)
    if judge in scorecard.TOYS:
        raise UserError(f"--reference {judge}: counts modes; a sweep goes by the Fréchet distance to images")
    sweeping.prepare(out, wanted)
    try:
        found = sweeping.search(wanted, out, trials, lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        _say_how_to_go_on(out)
        raise
    tried = sorted(
        (t for t in found["trials"] if t["frechet"] is not None), key=lambda t: float(t["frechet"])
    )
    for row in tried[:10]:
        values = "  ".join(f"{k}={v}" for k, v in row.items() if k not in ("trial", "frechet", "failed"))
        print(f"{row['frechet']:10.4g}  trial {row['trial']:>4}  {values}")
    if len(tried) < len(found["trials"]):
        print(f"{len(found['trials']) - len(tried)} trials came to nothing: see {out}/sweep.csv")
    if tried:
        changes = " ".join(f"--set {shlex.quote(change)}" for change in found["set"])
        print(f"best:      mulligan train {shlex.quote(recipe)} --data {shlex.quote(data)} {changes}")
        print(f"written:   {out}/best.toml, {out}/sweep.csv, {out}/sweep.json")
