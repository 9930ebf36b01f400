"""What the runs of a contest came to: means with intervals, a table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mulligan.arena.cells import Cell, Result
from mulligan.files import write_atomically, write_json
from mulligan.metrics.estimate import student

COLUMNS = (
    *("frechet", "precision", "recall", "coverage", "class_kl", "missing"),
    *("modes", "high_quality", "reverse_kl", "mode_kl", "seconds", "images"),
)

Outcome = tuple[Cell, list[Result]]


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and half the width of its 95 % interval by Student's t; None for a single value."""
    mean = statistics.fmean(values)
    n = len(values)
    if n < 2:
        return mean, None
    return mean, student(n - 1) * statistics.stdev(values) / math.sqrt(n)


def numbers(result: Result) -> dict[str, float]:
    """Flatten a result: every metric, and what it took."""
    found = {name: float(metric["value"]) for name, metric in result.card.get("metrics", {}).items()}
    if result.card.get("class_histogram"):
        found["missing"] = float(len(result.card.get("missing_classes", ())))
    found["seconds"], found["images"] = result.seconds, float(result.images)
    if result.seconds > 0:
        found["images_per_second"] = result.images / result.seconds
    return found


def summary(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return, for each recipe and mark, the mean and interval of everything over the seeds."""
    rows: list[dict[str, Any]] = []
    marks = outcomes[0][0].marks if outcomes else ()
    for name in dict.fromkeys(cell.name for cell, _ in outcomes):
        for i, mark in enumerate(marks):
            results = [found[i] for cell, found in outcomes if cell.name == name]
            well = [numbers(result) for result in results if not result.failed]
            metrics: dict[str, dict[str, Any]] = {}
            for metric in dict.fromkeys(metric for one in well for metric in one):
                values = [one[metric] for one in well if metric in one]
                mean, half = interval(values)
                metrics[metric] = {"mean": mean, "half_width": half}
                if len(values) < len(well):
                    metrics[metric]["seeds"] = len(values)
            rows.append(
                {
                    "recipe": name,
                    "mark": str(mark),
                    "seeds": len(results),
                    "failed": len(results) - len(well),
                    "metrics": metrics,
                }
            )
    return rows


def cells_of(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Write a summary for people, with a row of headings: mean ± half the 95 % interval over seeds."""
    known = {name for row in rows for name in row["metrics"]} or set(COLUMNS)
    columns = [name for name in COLUMNS if name in known]
    cells = [["recipe", "at", "seeds", *columns]]
    for row in rows:
        line = [row["recipe"], row["mark"], f"{row['seeds'] - row['failed']}/{row['seeds']}"]
        cells.append(line + [_written(row["metrics"].get(name)) for name in columns])
    return cells


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lay a summary out in lines whose columns stand below one another."""
    cells = cells_of(rows)
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    aligned = [str.ljust, str.ljust, *[str.rjust] * (len(widths) - 2)]
    return [
        "  ".join(to(text, w) for to, text, w in zip(aligned, line, widths, strict=True)) for line in cells
    ]


def write(out: Path, outcomes: Sequence[Outcome], environment: dict[str, Any]) -> list[dict[str, Any]]:
    """Write ``arena.json`` and ``arena.csv``; return the summary.

    Raises:
        OSError: they cannot be written.
    """
    rows = summary(outcomes)
    flat = [
        {"recipe": cell.name, "seed": cell.seed, "mark": str(mark), "failed": result.failed or ""}
        | numbers(result)
        for cell, results in outcomes
        for mark, result in zip(cell.marks, results, strict=True)
    ]
    write_json(out / "arena.json", {"schema": 1, **environment, "runs": flat, "summary": rows})
    write_atomically(out / "arena.csv", _csv(flat).encode())
    return rows


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _written(metric: dict[str, Any] | None) -> str:
    if metric is None:
        return "–"
    mean, half = metric["mean"], metric["half_width"]
    of = f" ({metric['seeds']} of them)" if "seeds" in metric else ""
    return _short(mean) + ("" if half is None else f" ± {_short(half)}") + of


def _short(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
