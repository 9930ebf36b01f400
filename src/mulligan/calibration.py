"""Which way of computing a run is fastest on this machine, and how long the run will take.

A few updates are timed before a run begins, and left without a trace in it. The figures are kept for
this machine and this recipe, so that the next run need not try every way again; how fast the machine is at
the moment is looked at every time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from mulligan import hardware
from mulligan._version import __version__
from mulligan.compiled import CannotCompile
from mulligan.files import user_cache, write_json
from mulligan.hardware import Mode, Precision
from mulligan.state import State

WORTH_FORETELLING = 50  # updates
WORTH_MEASURING = 10.0  # seconds: a shorter run would be over before a better way is found
WORTH_COMPILING = 45.0  # seconds: compiling takes 5 to 20 of them, the first time
SECONDS = 0.4  # for each figure, of which there are four at the most
MOST_UPDATES = 100
LEAST = 4  # updates, to choose the quickest of, so long as they take no more than
MOST_SECONDS = 4.0
UPKEEP = 1.06  # a run's time over that of its updates: pictures, scorecards, checkpoints, examinations
AHEAD = 10  # updates that another device is given before they are waited for
APART = {"name", "title", "source", "budget", "log", "samples", "card", "checkpoint", "stop"}


@dataclass(frozen=True)
class Forecast:
    """How a run will be computed, and how fast.

    Attributes:
        mode: The way chosen.
        images_per_second: Real images that D will see.
        seconds: To the end of the budget.
        note: A sentence where something could not be done as asked, else empty.
    """

    mode: Mode
    images_per_second: float
    seconds: float
    note: str = ""


def choose(state: State, precision: Precision | None = None, mode: Mode | None = None) -> Forecast | None:
    """Choose how to compute a run, and leave its state ready to be computed so, otherwise as it was.

    A run of a few updates is computed as it is written, and nothing is foretold of it.

    Args:
        state: The run.
        precision: To be kept to; None for the fastest that there is.
        mode: Taken as it is: the way in which a resumed run was computed before.
    """
    figures = Figures(state)
    if mode is not None:
        note = ""
        try:
            state.use(mode)
        except CannotCompile as error:
            note = f"its updates were computed as {mode} before; now {error}, and its last digits will differ"
        return _forecast(state, figures, note)
    state.use(Mode(precision or "exact"))
    if _updates_left(state) < WORTH_FORETELLING:
        return None
    first = figures.known(state.mode) or _seconds_per_update(state, updates=1)
    if _seconds_left(state, first) < WORTH_MEASURING:
        figures.note(state.mode, first)
        return _forecast(state, figures)
    asked: list[Precision] = [precision] if precision else ["exact"]
    if precision is None and hardware.multiplies_bf16(state.device):
        asked.append("bf16")
    best, notes = min((Mode(name) for name in asked), key=lambda way: figures.of(way, state)), list[str]()
    if state.device.type == "cuda":
        best = _better(state, figures, best, Mode(asked[-1], captured=True), notes)
    there = state.device.type in ("cpu", "cuda")
    if there and _seconds_left(state, figures.of(best, state)) >= WORTH_COMPILING:
        # The rest compiled away, the faster products win
        compiled = Mode(asked[-1], compiled=True, captured=best.captured)
        best = _better(state, figures, best, compiled, notes)
    _take(state, best)
    return _forecast(state, figures, "; ".join(notes))


def _better(state: State, figures: Figures, best: Mode, other: Mode, notes: list[str]) -> Mode:
    """Return the faster of two ways, and note why the other cannot be, if it cannot."""
    try:
        if figures.of(other, state) < figures.of(best, state):
            _take(state, other)  # which may fail where it was only remembered
            return other
    except CannotCompile as error:
        notes.append(f"updates are not {'compiled' if other.compiled else 'captured'}: {error}")
    return best


def _take(state: State, mode: Mode) -> None:
    if state.mode != mode:
        state.use(mode)


def images_per_update(state: State) -> int:
    """Return how many reals D sees in a whole update."""
    return state.recipe.data.batch * state.recipe.step.d_steps


class Figures:
    """Seconds per update, by the way of computing; kept in the user's cache for a machine and a recipe."""

    def __init__(self, state: State) -> None:
        recipe = state.recipe.model_dump(mode="json", exclude=APART)
        about = state.about_data
        threads, versions = torch.get_num_threads(), [torch.__version__, __version__]
        machine = [hardware.cpu_name(), threads, hardware.device_name(state.device), *versions]
        key = json.dumps([machine, recipe, about.image_shape, state.conditions.total])
        self._path = user_cache() / "speed" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        self._seconds: dict[str, float] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
            for name, seconds in json.loads(self._path.read_text("utf-8")).items():
                if isinstance(seconds, float) and 1e-9 < seconds < 1e6:
                    self._seconds[name] = seconds

    def known(self, mode: Mode) -> float | None:
        """Return a figure if there is one."""
        return self._seconds.get(_name(mode))

    def note(self, mode: Mode, seconds: float) -> None:
        """Note a figure, for as long as this object lives."""
        self._seconds[_name(mode)] = seconds

    def of(self, mode: Mode, state: State) -> float:
        """Return a figure, measured now if it is not known.

        Raises:
            CannotCompile: this machine cannot compute so.
        """
        if (known := self.known(mode)) is not None:
            return known
        _take(state, mode)
        # The quickest of a few, which what else the machine does has touched least
        self.note(mode, _seconds_per_update(state, least=LEAST, typical=min))
        self.save()
        return self._seconds[_name(mode)]

    def save(self) -> None:
        """Keep the figures; where nothing can be written they are measured again next time."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, self._seconds)


def _name(mode: Mode) -> str:
    return " ".join(map(str, asdict(mode).values()))


def _seconds_per_update(
    state: State,
    updates: int = MOST_UPDATES,
    least: int = 1,
    typical: Callable[[list[float]], float] = statistics.mean,
) -> float:
    at_once = 1 if state.device.type == "cpu" else min(AHEAD, updates)
    with state.rehearsal():
        float(state.advance().health)  # the first is slower
        taken: list[float] = []
        while len(taken) * at_once < updates and sum(taken) * at_once < (
            SECONDS if len(taken) * at_once >= least else MOST_SECONDS
        ):
            start = time.perf_counter()
            for _ in range(at_once):
                last = state.advance()
            float(last.health)  # waits until it is done
            taken.append((time.perf_counter() - start) / at_once)
    return typical(taken)


def _updates_left(state: State) -> int:
    budget = state.recipe.budget
    left = math.ceil((budget.images - state.images) / images_per_update(state))
    return max(0, min(left, budget.steps - state.steps if budget.steps else left))


def _seconds_left(state: State, per_update: float) -> float:
    minutes = state.recipe.budget.minutes
    return min(per_update * _updates_left(state), 60 * minutes if minutes else math.inf)


def _forecast(state: State, figures: Figures, note: str = "") -> Forecast:
    per_update = figures.known(state.mode)
    if per_update is None or _seconds_left(state, per_update) >= WORTH_MEASURING:
        # Now, and not kept: in a busy moment every way is slow, and the others are not timed again
        per_update = _seconds_per_update(state)
    per_update *= UPKEEP
    seconds = _seconds_left(state, per_update)
    return Forecast(state.mode, images_per_update(state) / per_update, seconds, note)
