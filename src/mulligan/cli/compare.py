"""``mulligan compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulligan.cli.wording import aligned


def compare(
    first: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="DIR", help="Another.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="Also draw curves and grids: FILE.html, or FILE.png (needs mulligan[plot])."),
    ] = None,
) -> None:
    """Hold two runs side by side: what was changed between them, and what became of it."""
    from mulligan.arena import pair
    from mulligan.errors import UserError, printable

    kind = None if out is None else out.suffix.lower()
    if kind not in (None, ".png", ".html"):
        raise UserError(f"--out {out}: expected FILE.html or FILE.png")
    print("\n".join([*aligned(pair.table(first, second)), "", *map(printable, pair.changes(first, second))]))
    if out is not None and kind == ".html":
        from mulligan import reporting

        reporting.compare(first, second, out)
        print(f"\n{out}: both runs as a page")
    elif out is not None:
        try:
            out.absolute().parent.mkdir(parents=True, exist_ok=True)
            pair.draw(out, first, second)
        except OSError as error:
            raise UserError(f"--out {out}: cannot be written: {error.strerror or error}") from None
        print(f"\n{out}: curves and grids")
