"""The contest as a picture: Fréchet distance over training time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mulligan import runlog
from mulligan.arena.cells import Cell, Result
from mulligan.arena.results import interval, numbers
from mulligan.errors import UserError
from mulligan.files import write_atomically


def draw(path: Path, outcomes: Sequence[tuple[Cell, list[Result]]]) -> None:
    """Draw a line for each run's light scorecards, and the full scores with their intervals.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
        from matplotlib.ticker import LogLocator, NullFormatter
    except ImportError:
        raise UserError("the figure needs an extra package: pip install 'mulligan[plot]'") from None
    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=130)
    for i, name in enumerate(dict.fromkeys(cell.name for cell, _ in outcomes)):
        colour = f"C{i}"
        own = [(cell, results) for cell, results in outcomes if cell.name == name]
        for cell, _ in own:
            curve = _curve(cell.run)
            axes.plot(*curve, color=colour, alpha=0.35, linewidth=0.8)
        for mark in range(len(own[0][0].marks)):
            found = [numbers(results[mark]) for _, results in own if not results[mark].failed]
            found = [one for one in found if "frechet" in one]
            if found:
                mean, half = interval([one["frechet"] for one in found])
                seconds = float(np.mean([one["seconds"] for one in found]))
                axes.errorbar(
                    seconds, mean, yerr=min(half or 0.0, 0.999 * mean), fmt="o", color=colour, capsize=3,
                    label=name if mark == 0 else None,
                )  # fmt: skip
    axes.set(xlabel="seconds of training", ylabel="Fréchet distance", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    pyplot.close(figure)
    write_atomically(path, buffer.getvalue())


def _curve(run: Path) -> tuple[list[float], list[float]]:
    """Return seconds and Fréchet distances of a run's light scorecards."""
    try:
        rows = [row for row in runlog.cards(runlog.rows(run)) if "seconds" in row.get("time", ())]
    except UserError:
        rows = []
    return [row["time"]["seconds"] for row in rows], [row["card"]["frechet"] for row in rows]
