"""One recipe with one seed, trained to one mark after another and scored at each.

Everything is done by the command line's own verbs in processes of their own, so that a run in
the arena is the very run a user would get, and a kill at any moment costs what it costs there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mulligan import checkpoint
from mulligan import recipe as recipes
from mulligan.errors import RunError, UserError, first_line
from mulligan.files import write_json
from mulligan.recipe import Recipe
from mulligan.runlog import Busy, lock

PROGRAM = (sys.executable, "-m", "mulligan")
SCORE = "score-{}.json"
RECIPE = "recipe.json"  # as the cell was begun with it
DIVERGED = "is not finite"  # what a run says that can go no further
SLACK = 0.05  # seconds by which a run may miss its mark


@dataclass(frozen=True)
class Mark:
    """When a run is scored: after so many images, or so many minutes."""

    images: int | None = None
    minutes: float | None = None

    def __str__(self) -> str:
        return f"{self.minutes:g}min" if self.minutes is not None else f"{self.images}"


@dataclass(frozen=True)
class Cell:
    """One run of a contest.

    Attributes:
        recipe: What ``mulligan train`` is told: a name or a file.
        name: What the recipe calls itself.
        folder: Where the run directory ``run`` and the scores go.
        reference: What it is scored against; None for the evaluator's own choice.
        n: Images in a score.
        quick: Without the slowest row of the score.
    """

    recipe: str
    name: str
    seed: int
    data: str
    folder: Path
    marks: tuple[Mark, ...]
    overrides: tuple[str, ...] = ()
    reference: str | None = None
    n: int = 10_000
    quick: bool = False

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.folder / "run"

    def score(self, mark: Mark) -> Path:
        """Where the score at a mark is kept."""
        return self.folder / SCORE.format(mark)


@dataclass(frozen=True)
class Result:
    """What came of a cell at one mark.

    Attributes:
        failed: Why there is no score; None where there is one.
        seconds: Time spent training.
        images: Reals that D had consumed.
        card: The scorecard, as JSON has it.
    """

    failed: str | None
    seconds: float
    images: int
    card: dict[str, Any]


@dataclass
class Processes:
    """Runs commands, and ends those still running when told to."""

    threads: int | None
    stopped: bool = False
    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run ``mulligan`` with these arguments; return its exit code and what it complained of."""
        environment = dict(os.environ)
        if self.threads is not None:
            environment.setdefault("OMP_NUM_THREADS", str(self.threads))
        with self._lock:
            if self.stopped:
                return 130, "interrupted"
            process = subprocess.Popen(
                [*PROGRAM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C is ours to pass on
            )
            self._running.add(process)
        _, complaint = process.communicate()
        with self._lock:
            self._running.discard(process)
        return process.returncode, complaint

    def stop(self) -> None:
        """Ask every process to save and end, and start no other."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                process.terminate()

    def wait(self) -> None:
        """Wait until the last of them has ended."""
        for process in list(self._running):
            process.wait()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM interrupt as Ctrl-C does, and Ctrl-C even where a shell has turned it off."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, signal.default_int_handler) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


class Untrainable(UserError):
    """A recipe's values are not for this data: a batch larger than it, say."""


class Interrupted(Exception):
    """The contest was asked to stop."""


def read_result(cell: Cell, mark: Mark) -> Result | None:
    """Read what is known of a cell at a mark; None where it is still to be done."""
    try:
        table = json.loads(cell.score(mark).read_text(encoding="utf-8"))
        return Result(table["failed"], table["seconds"], table["images"], table["card"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def results_of(cell: Cell) -> list[Result]:
    """Read a finished cell's results, one for each mark; none where something is still to be done."""
    results: list[Result] = []
    for mark in cell.marks:
        result = read_result(cell, mark)
        if result is None:
            return []
        results.append(result)
        if result.failed:  # it came no further
            return results + [result] * (len(cell.marks) - len(results))
    return results


def check_recipe(folder: Path, recipe: str, overrides: Sequence[str]) -> Recipe:
    """Return the recipe as it reads now; refuse one that reads otherwise than when ``folder`` was begun.

    Raises:
        UserError: it does, or what was kept of it is damaged.
    """
    now, kept = recipes.read(recipe, overrides), folder / RECIPE
    if kept.exists():
        try:
            before = recipes.from_dict(dict(json.loads(kept.read_text("utf-8"))), str(kept))
        except (OSError, ValueError, TypeError, RecursionError):
            raise UserError(f"{kept}: is damaged: expected a recipe as JSON") from None
        if changed := recipes.differences(before, now):
            raise UserError(f"{recipe}: has changed since {folder} was begun: {changed[0]}: name a new --out")
    return now


def keep_recipe(folder: Path, recipe: str, overrides: Sequence[str]) -> None:
    """Keep what a recipe says, for ``check_recipe``.

    Raises:
        UserError: it has changed since.
    """
    now = check_recipe(folder, recipe, overrides)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECIPE, now.model_dump(mode="json", exclude_none=True))


def carry_out(cell: Cell, processes: Processes, say: Callable[[str], object]) -> list[Result]:
    """Bring a cell to its end, from wherever it was left.

    Raises:
        Interrupted: ``processes`` was stopped; what was reached is kept.
        UserError: the recipe has changed since the cell was begun, nothing can be written there, or the
            recipe cannot be trained on this data.
    """
    keep_recipe(cell.folder, cell.recipe, cell.overrides)
    for mark in cell.marks:
        result = read_result(cell, mark)
        if result is None:
            result = _reach(cell, mark, processes)
            table = {
                "failed": result.failed,
                "seconds": result.seconds,
                "images": result.images,
                "card": result.card,
            }
            write_json(cell.score(mark), table)
            frechet = result.card.get("metrics", {}).get("frechet", {}).get("value")
            said = result.failed or (f"Fréchet distance {frechet:.4g}" if frechet is not None else "scored")
            say(f"{cell.name} seed {cell.seed}, {result.images:,} images in {result.seconds:.0f} s: {said}")
        if result.failed:  # it will not come any further
            break
    return results_of(cell)


def _reach(cell: Cell, mark: Mark, processes: Processes) -> Result:
    """Train to a mark and score what is there.

    Raises:
        Untrainable: the recipe cannot be begun on this data.
        RunError: for any other reason but the recipe's own divergence.
    """
    _wait_for_others(cell.run, processes)
    code, complaint = _train(cell, mark, processes)
    if processes.stopped:
        raise Interrupted
    seconds, images = _spent(cell.run)
    if code != 0:
        said = _said(complaint)
        if code == 2 and not cell.run.exists():
            raise Untrainable(f"{cell.run}: {said}")
        if DIVERGED not in said:  # a full disk, say: not the recipe's fault, and worth another try
            raise RunError(f"{cell.run}: {said}")
        return Result(said, seconds, images, {})
    score = cell.folder / "card.json"
    arguments = ["evaluate", str(cell.run), "-n", str(cell.n), "--json", str(score)]
    arguments += ["--reference", cell.reference] if cell.reference is not None else []
    code, complaint = processes.call([*arguments, "--quick"] if cell.quick else arguments)
    if processes.stopped:
        raise Interrupted
    if code != 0:
        raise RunError(f"{cell.run}: {_said(complaint)}")
    return Result(None, seconds, images, json.loads(score.read_text(encoding="utf-8")))


def _said(complaint: str) -> str:
    """Return the last line of what a process complained of."""
    return first_line((complaint.strip().splitlines() or [""])[-1].removeprefix("mulligan: "))


def _train(cell: Cell, mark: Mark, processes: Processes) -> tuple[int, str]:
    if not checkpoint.history(cell.run):
        shutil.rmtree(cell.run, ignore_errors=True)  # cut off before its first checkpoint
        cell.folder.mkdir(parents=True, exist_ok=True)
        arguments = ["train", cell.recipe, "--data", cell.data, "--seed", str(cell.seed)]
        arguments += ["--out", str(cell.run), "--quiet"]
        for override in cell.overrides:
            arguments += ["--set", override]
        if mark.images is not None:
            arguments += ["--images", str(mark.images)]
        else:
            arguments += ["--minutes", repr(mark.minutes)]
        return processes.call(arguments)
    arguments = ["resume", str(cell.run), "--quiet"]
    if mark.minutes is not None:
        left = 60 * mark.minutes - _spent(cell.run)[0]
        if left <= SLACK:
            return 0, ""
        arguments += ["--minutes", repr(left / 60)]
    return processes.call(arguments)


def _wait_for_others(run: Path, processes: Processes) -> None:
    """Wait for a run that was left training when the arena around it was killed.

    Raises:
        UserError: nothing can be written there.
    """
    while run.exists() and not processes.stopped:
        try:
            with lock(run):
                return
        except Busy:
            time.sleep(0.2)


def _spent(run: Path) -> tuple[float, int]:
    """Return seconds trained and images seen by the last checkpoint."""
    history = checkpoint.history(run)
    if not history:
        return 0.0, 0
    meta = checkpoint.read(history[-1], prefixes=("nothing.",)).meta
    return meta.seconds, meta.images
