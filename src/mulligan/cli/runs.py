"""``mulligan runs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mulligan.cli.wording import aligned, duration

COLUMNS = ("run", "recipe", "data", "images", "time", "Fréchet", "best", "doctor", "second shot of")


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the runs are.")] = Path("runs"),
) -> None:
    """List the runs in a folder: how far they are, how good, what is wrong, what they are a second shot of.

    Fréchet distances are of the light scorecards: the last, and the best with the images it was at.
    """
    from mulligan import runlog
    from mulligan.errors import UserError

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: expected one that holds runs")
    found = [path.parent for path in sorted(folder.glob(f"*/{runlog.ENVIRONMENT}"))]
    if not found:
        raise UserError(f"{folder}: holds no run: `mulligan train` makes one in runs/")
    rows = [COLUMNS, *map(_row, found)]
    print("\n".join(aligned(rows)))


def _row(run: Path) -> tuple[str, ...]:
    from mulligan import doctor, runlog
    from mulligan.errors import UserError
    from mulligan.recipe import read

    try:
        rows = runlog.rows_so_far(run)
        recipe, data, parent = read(run / runlog.RECIPE), runlog.data_name(run), runlog.parent(run)
    except UserError as error:
        return (run.name, *["–"] * (len(COLUMNS) - 2), f"cannot be read: {error}")
    cards = runlog.cards(rows)
    counted = [row for row in cards if not row.get("cut_off")]  # by which a checkpoint is called the best
    best = min(counted, key=lambda row: float(row["card"]["frechet"]), default=None)
    timed = [row["time"]["seconds"] for row in rows if isinstance(row.get("time"), dict)]
    return (
        run.name,
        recipe.name,
        data,
        f"{rows[-1]['images']:,}" if rows else "0",
        duration(float(timed[-1])) if timed else "–",
        f"{cards[-1]['card']['frechet']:.3g}" if cards else "–",
        f"{best['card']['frechet']:.3g} at {best['images']:,}" if best else "–",
        next(
            (verdict.kind for verdict in doctor.diagnose(recipe, rows, running=runlog.busy(run)).verdicts),
            "–",
        ),
        f"{Path(parent.run).name} at {parent.images:,}: {'; '.join(parent.changes)}" if parent else "",
    )
