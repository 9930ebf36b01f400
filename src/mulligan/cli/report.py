"""``mulligan report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write.  [default: DIR/report.html]")
    ] = None,
) -> None:
    """Write what a run came to as one HTML file that needs nothing else."""
    from mulligan import reporting

    print(reporting.report(run, out))
