"""Reports: what a run came to, as one HTML file that needs nothing else.

Reads run directories and draws with the sampler; knows neither step nor loop. The room is not called
``report`` because ``mulligan.report`` is the function.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from mulligan.data.dataset import Dataset
from mulligan.errors import Place, UserError, place
from mulligan.files import write_atomically
from mulligan.reporting import drawn, facts, pages

__all__ = ["REPORT", "compare", "contest", "leave", "report"]

REPORT = "report.html"


def report(run: Place, out: str | Path | None = None) -> Path:
    """Write what a run came to as one HTML file, and return its path.

    Curves, samples over time, a scorecard, verdicts with their evidence and what to change, nearest
    training images, the recipe and the command that makes the run again. Nothing is fetched.

    Args:
        run: A run directory; the run may still be going on.
        out: Where to write it; ``report.html`` in the run directory by default.

    Raises:
        UserError: it is no run, a part of it is damaged, or the file cannot be written.
    """
    directory = Path(place(run, "run"))
    known = facts.read(directory)
    training = drawn.training_images(known.meta.data, known.recipe, directory)
    return _write(
        directory / REPORT if out is None else Path(place(out, "out")), pages.of_run(known, training)
    )


def leave(run: Path, dataset: Dataset) -> Path | None:
    """Leave a report in the directory of a run that has just ended; None where that came to nothing.

    Nothing may go wrong with a training because of it, so whatever goes wrong here is let go:
    ``mulligan report`` says what it was.
    """
    with contextlib.suppress(Exception):
        known = facts.read(run, ended=True)
        training = drawn.trained_on(dataset, known.recipe)
        return _write(run / REPORT, pages.of_run(known, training, quick=True))
    return None


def compare(a: Path, b: Path, out: Path) -> Path:
    """Write two runs side by side as one HTML file, and return its path.

    Raises:
        UserError: one of them is no run, a part of it is damaged, or the file cannot be written.
    """
    return _write(out, pages.of_pair(facts.read(a), facts.read(b)))


def contest(out: Path, table: Sequence[Sequence[str]], runs: Sequence[tuple[str, int, Path]]) -> Path:
    """Write what an arena came to as ``report.html`` in its directory; see ``pages.of_contest``.

    Raises:
        UserError: the file cannot be written.
    """
    return _write(out / REPORT, pages.of_contest(out, table, runs))


def _write(path: Path, page: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    return path
