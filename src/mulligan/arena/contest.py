"""A contest: every recipe with every seed under one budget, and what they came to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulligan import recipe as recipes
from mulligan.arena.cells import (
    Cell,
    Interrupted,
    Mark,
    Processes,
    Result,
    carry_out,
    check_recipe,
    interruptible,
    results_of,
)
from mulligan.errors import UserError
from mulligan.files import write_json
from mulligan.runlog import lock

PLAN = "contest.json"

Say = Callable[[str], object]


@dataclass(frozen=True)
class Contest:
    """What is to be compared, and how.

    Attributes:
        recipes: Names or files.
        seeds: 0..seeds-1.
        marks: When each run is scored; the last is its budget.
        data: As ``mulligan train --data`` takes it.
        overrides: Changes to every recipe.
        reference: What runs are scored against; None for the evaluator's own choice.
        n: Images in a score.
        quick: Scores without their slowest row.
        jobs: Runs at once, each with its share of the cores.
    """

    recipes: tuple[str, ...]
    seeds: int
    marks: tuple[Mark, ...]
    data: str = "auto"
    overrides: tuple[str, ...] = ()
    reference: str | None = None
    n: int = 10_000
    quick: bool = False
    jobs: int = 1

    @property
    def threads(self) -> int:
        """Threads of each run."""
        return max(1, (os.cpu_count() or 1) // self.jobs)

    def names(self) -> list[str]:
        """Return what each recipe calls itself.

        Raises:
            UserError: a recipe cannot be read, or two have one name.
        """
        names = [recipes.read(recipe, self.overrides).name for recipe in self.recipes]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"two recipes are called {twice!r}: give one another name")
        return names

    def cells(self, out: Path) -> list[Cell]:
        """Return every run, seed by seed, so that a contest cut short has some seeds of each recipe."""
        return [
            self.cell(recipe, name, seed, out)
            for seed in range(self.seeds)
            for recipe, name in zip(self.recipes, self.names(), strict=True)
        ]

    def cell(self, recipe: str, name: str, seed: int, out: Path) -> Cell:
        """Return one run."""
        return Cell(
            recipe, name, seed, self.data, out / name / f"seed-{seed}", self.marks, self.overrides,
            self.reference, self.n, self.quick,
        )  # fmt: skip

    def rules(self) -> dict[str, Any]:
        """Return what may not change when a contest goes on: all but recipes, seeds and jobs."""
        return {
            "marks": [str(mark) for mark in self.marks],
            "data": self.data,
            "set": list(self.overrides),
            "reference": self.reference,
            "n": self.n,
            "quick": self.quick,
            "threads": os.environ.get("OMP_NUM_THREADS", str(self.threads)),
        }


def hold(contest: Contest, out: Path, say: Say) -> list[tuple[Cell, list[Result]]]:
    """Carry out what is still to be done, and return the results at each mark of every cell.

    With them come those that an earlier call finished, of recipes and seeds that this one does not ask for.

    Raises:
        UserError: ``out`` holds something else, another contest, or runs of a recipe that has changed.
        KeyboardInterrupt: the user ended it; the same call goes on.
    """
    cells = contest.cells(out)
    for cell in cells:
        check_recipe(cell.folder, cell.recipe, cell.overrides)
    with opened(out, PLAN, contest.rules()):
        return [*run_all(cells, contest.jobs, contest.threads, say), *finished(contest, out, cells)]


def finished(contest: Contest, out: Path, asked: Sequence[Cell]) -> list[tuple[Cell, list[Result]]]:
    """Return what else lies finished in a contest's directory."""
    found, known = [], {cell.folder for cell in asked}
    for folder in sorted(
        out.glob("*/seed-*"), key=lambda path: (path.parent.name, len(path.name), path.name)
    ):
        number = folder.name.removeprefix("seed-")
        if folder in known or not number.isdecimal():
            continue
        name = folder.parent.name
        cell = contest.cell(name, name, int(number), out)
        if results := results_of(cell):
            found.append((cell, results))
    return found


def run_all(cells: Sequence[Cell], jobs: int, threads: int, say: Say) -> list[tuple[Cell, list[Result]]]:
    """Carry out cells, ``jobs`` at once.

    Raises:
        KeyboardInterrupt: the user ended it.
    """
    processes = Processes(threads)
    found: dict[int, list[Result]] = {}
    with interruptible(), ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(carry_out, cell, processes, say): i for i, cell in enumerate(cells)}
        try:
            for done in as_completed(waiting):
                found[waiting[done]] = done.result()
        except BaseException as error:
            processes.stop()
            for future in waiting:
                future.cancel()
            if isinstance(error, Interrupted):
                raise KeyboardInterrupt from None
            raise
    return [(cell, found[i]) for i, cell in enumerate(cells)]


@contextmanager
def opened(out: Path, plan: str, rules: dict[str, Any]) -> Iterator[None]:
    """Make a directory for many runs, or go on in it if the rules are the same; keep others out.

    Raises:
        UserError: it holds something else, other rules, or another process works there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / plan).exists() and any(path.name != ".lock" for path in out.iterdir()):
            raise UserError(f"--out {out}: is not empty, and nothing is overwritten: name a new directory")
        with lock(out):
            same_rules(out / plan, rules)
            write_json(out / plan, rules)
            yield
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror}") from None


def same_rules(path: Path, rules: dict[str, Any]) -> None:
    """Refuse to go on under other rules than those a directory was begun with.

    Raises:
        UserError: a rule has changed, or what was written of them is damaged.
    """
    if not path.exists():
        return
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{path}: is damaged: expected JSON") from None
    for key, value in rules.items():
        if before.get(key) != value:
            raise UserError(
                f"{path.parent}: was begun with {key} {before.get(key)}, now {value}: name a new --out, or "
                "repeat the command with it as it was"
            )
