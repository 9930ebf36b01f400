"""What a run directory holds, read once and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulligan import checkpoint, doctor, runlog
from mulligan import recipe as recipes
from mulligan.checkpoint import Meta
from mulligan.doctor import Diagnosis
from mulligan.errors import UserError
from mulligan.recipe import Recipe
from mulligan.runlog import Parent, Row, finite

SCORECARD = "scorecard.json"


@dataclass(frozen=True)
class Facts:
    """A run as its directory tells it.

    Attributes:
        rows: Its log.
        meta: What its last checkpoint says of itself.
        diagnosis: What the doctor says.
        parent: What it is a second shot of.
        card: The full scorecard, as JSON has it, where one was left in the directory.
        running: Is a process training there?
    """

    run: Path
    recipe: Recipe
    environment: dict[str, Any]
    rows: list[Row]
    meta: Meta
    diagnosis: Diagnosis
    parent: Parent | None
    card: dict[str, Any] | None
    running: bool

    @property
    def name(self) -> str:
        """What people call the run: the name of its directory."""
        return self.run.name or self.run.resolve().name

    @property
    def spent(self) -> bool:
        """Has it come to its end, by its budget or by its stop rule?"""
        budget, meta = self.recipe.budget, self.meta
        return (
            meta.stopped is not None
            or meta.images >= budget.images
            or (budget.steps is not None and meta.steps >= budget.steps)
        )

    @property
    def light(self) -> Row | None:
        """The last row of the log with a light scorecard that says something."""
        return next(
            (row for row in reversed(self.rows) if isinstance(row.get("card"), dict) and row["card"]), None
        )


def read(run: Path, *, ended: bool = False) -> Facts:
    """Read a run directory; ``ended`` where this process has just trained there.

    Raises:
        UserError: it is no run, or a part of it is missing or damaged.
    """
    rows = runlog.rows(runlog.there(run))
    environment = _object(run / runlog.ENVIRONMENT, "what `mulligan train` writes")
    recipe = recipes.read(run / runlog.RECIPE)
    running = not ended and runlog.busy(run)
    return Facts(
        run=run,
        recipe=recipe,
        environment=environment,
        rows=rows,
        meta=checkpoint.read(checkpoint.find(run), prefixes=()).meta,
        diagnosis=doctor.diagnose(recipe, rows, run, running=running),
        parent=runlog.parent(run),
        card=_card(run / SCORECARD),
        running=running,
    )


def _object(path: Path, expected: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}: expected a run directory") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path}: is damaged: expected {expected}")
    return value


def _card(path: Path) -> dict[str, Any] | None:
    """Read the scorecard that ``mulligan evaluate --json`` wrote, if it is there.

    Raises:
        UserError: it is damaged.
    """
    if not path.exists():
        return None
    expected = "what `mulligan evaluate --json` writes"
    card = _object(path, expected)
    metrics = card.get("metrics")
    whole = isinstance(metrics, dict) and all(
        isinstance(m, dict)
        and all(_is_number(m.get(key)) for key in ("value", "low", "high"))
        and (m.get("floor") is None or _is_number(m["floor"]))
        for m in metrics.values()
    )
    lists = all(
        isinstance(card.get(key, []), list) for key in ("class_histogram", "missing_classes", "warnings")
    )
    if not (whole and lists):
        raise UserError(f"{path}: is damaged: expected {expected}")
    return card


def _is_number(value: object) -> bool:
    return finite(value) is not None
