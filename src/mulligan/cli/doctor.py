"""``mulligan doctor``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mulligan.doctor import Diagnosis, Verdict


def doctor(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="The run directory.", show_default=False)],
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the verdicts as JSON; - for standard output.")
    ] = None,
) -> None:
    """Say what is wrong with a run, why, and what to change; also while it is training."""
    from json import dumps

    from mulligan import doctor as room
    from mulligan.errors import printable
    from mulligan.files import write_atomically
    from mulligan.runlog import check_writable

    if json and json != Path("-"):
        check_writable(json)
    diagnosis = room.examine(run)
    written = dumps(diagnosis.as_dict(), indent=2, ensure_ascii=False) + "\n"
    if json == Path("-"):
        sys.stdout.write(written)
        return
    if json:
        json.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(json, written.encode())
    print("\n".join(map(printable, told(run, diagnosis))))


def told(run: Path, diagnosis: Diagnosis) -> Iterator[str]:
    """Tell a diagnosis in lines."""
    if not diagnosis.verdicts:
        yield "nothing is wrong"
    for verdict in diagnosis.verdicts:
        yield summary(verdict)
        yield f"  {verdict.evidence.text}"
        yield f"  why:     {verdict.cause}"
        for changes, why, source in verdict.by_reason:
            what = f"change:  {', '.join(changes)}:" if changes else "do:     "
            yield f"  {what} {why} ({source})"
        if verdict.evidence.pictures:
            yield f"  look at: {', '.join(str(run / picture) for picture in verdict.evidence.pictures)}"
    if diagnosis.verdicts and diagnosis.verdicts[0].changes:
        yield f"second shot, with all changes of the first:  mulligan retry {shlex.quote(str(run))}"


def summary(verdict: Verdict) -> str:
    """Tell a verdict in a line."""
    return f"{verdict.severity}: {verdict.kind}, since {verdict.onset_images:,} images"
