"""`mulligan data`: which sets there are, fetching them and checking them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mulligan.errors import RunError

app = typer.Typer(help="List, fetch and check the named data sets.", rich_markup_mode=None)

OTHERS = {
    "mnist-synth": ("60,000", "drawn when asked for, then kept"),
    "digits": ("1,797", "in the package"),
    "ring-8": ("100,000", "made when asked for"),
    "grid-25": ("100,000", "made when asked for"),
    "stacked-mnist": ("128,000", "made when asked for"),
}

Name = Annotated[str, typer.Argument(help="mnist, fashion-mnist or kmnist.", show_default=False)]


@app.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_sets()


@app.command("list")
def list_sets() -> None:
    """List the sets: name, number of images, where it is, what it is."""
    from mulligan.data import DATASETS
    from mulligan.data.named import NAMED, locate

    for name, description in DATASETS.items():
        if name in NAMED:
            count, place = "60,000", str(locate(name) or f"not here: `mulligan data fetch {name}`")
        else:
            count, place = OTHERS[name]
        # Plain lines: a table would cut what does not fit a narrow or absent terminal.
        typer.echo(f"{name:<14} {count:>7}  {place}\n{'':<24}{description}")


@app.command()
def fetch(name: Name) -> None:
    """Fetch the files of a set that are not here or are damaged, and check each."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from mulligan import data

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(name, total=None)
        folder = data.fetch(name, progress=lambda done, total: bar.update(task, completed=done, total=total))
    typer.echo(f"{name} is in {folder}")


@app.command()
def verify(name: Name) -> None:
    """Hold the four files of a set against their checksums."""
    from mulligan import data

    report = data.verify(name)
    for file, status, detail in report:
        typer.echo(f"{status:<13}  {file}  {detail}")
    bad = [file for file, status, _ in report if status in ("damaged", "missing")]
    if bad:
        raise RunError(
            f"{name}: {len(bad)} of {len(report)} files missing or damaged; "
            f"`mulligan data fetch {name}` mends it"
        )
