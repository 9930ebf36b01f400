"""Search a recipe's values: Optuna proposes, the arena's runs answer."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulligan import recipe as recipes
from mulligan.arena import Cell, Mark
from mulligan.arena.cells import (
    Interrupted,
    Processes,
    Result,
    Untrainable,
    carry_out,
    interruptible,
    keep_recipe,
)
from mulligan.arena.contest import same_rules
from mulligan.errors import RunError, UserError, first_line, is_unicode
from mulligan.files import write_atomically, write_json
from mulligan.runlog import Busy, lock

STUDY = "study.db"
PLAN = "sweep-plan.json"

Say = Callable[[str], object]


@dataclass(frozen=True)
class Range:
    """Where a key of the recipe may lie.

    Attributes:
        key: Such as ``optimizer.generator.lr``.
        low: Or the first of the choices.
        high: Or the last.
        log: Drawn evenly in the logarithm?
        whole: Whole numbers only?
        choices: The values themselves; empty for a range.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        values = ",".join(self.choices) if self.choices else ":".join(self.ends())
        return f"{self.key}={values}{':log' if self.log else ''}"

    def ends(self) -> Sequence[str]:
        """Return the values that must be valid for all others to be."""
        if self.choices:
            return self.choices
        return [_written(value, self.whole) for value in (self.low, self.high)]


def read_range(text: str) -> Range:
    """Read ``key=low:high``, ``key=low:high:log`` or ``key=a,b,c``.

    Raises:
        UserError: it is none of these.
    """
    key, _, values = text.partition("=")
    expected = f"--range {text}: expected key=low:high, key=low:high:log or key=a,b,c"
    if not key or not values:
        raise UserError(expected)
    if ":" not in values:
        choices = tuple(part.strip() for part in values.split(","))
        if len(choices) < 2 or not all(choices):
            raise UserError(expected)
        return Range(key, choices=choices)
    parts = values.split(":")
    if len(parts) not in (2, 3) or parts[2:] not in ([], ["log"]):
        raise UserError(expected)
    try:
        low, high = (float(part) for part in parts[:2])
    except ValueError:
        raise UserError(expected) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"--range {text}: {parts[0]} must be below {parts[1]}")
    if len(parts) == 3 and low <= 0:
        raise UserError(f"--range {text}: a logarithmic range begins above 0")
    whole = all(part.replace("_", "").lstrip("+-").isdecimal() for part in parts[:2])
    return Range(key, low, high, len(parts) == 3, whole)


@dataclass(frozen=True)
class Sweep:
    """What is to be searched.

    Attributes:
        mark: The budget of each trial.
        overrides: Changes to the recipe in every trial.
        n: Images in a score.
    """

    recipe: str
    ranges: tuple[Range, ...]
    mark: Mark
    data: str = "auto"
    seed: int = 0
    overrides: tuple[str, ...] = ()
    reference: str | None = None
    n: int = 5000

    def check(self) -> None:
        """Refuse a range that leaves what the recipe allows.

        Raises:
            UserError: a key or one of its ends is not valid.
        """
        keys = [one.key for one in self.ranges]
        if len(set(keys)) < len(keys):
            raise UserError("--range: a key is given twice")
        for one in self.ranges:
            for value in one.ends():
                recipes.read(self.recipe, (*self.overrides, f"{one.key}={value}"))

    def rules(self) -> dict[str, Any]:
        """Return what may not change when a sweep goes on."""
        return {
            "recipe": self.recipe,
            "ranges": list(map(str, self.ranges)),
            "mark": str(self.mark),
            "data": self.data,
            "seed": self.seed,
            "set": list(self.overrides),
            "reference": self.reference,
            "n": self.n,
        }


def prepare(out: Path, sweep: Sweep) -> None:
    """Make the directory of a sweep, or make sure that it is this one's.

    Raises:
        UserError: it holds something else, or another sweep, or its name is not Unicode.
    """
    if not is_unicode(out):
        raise UserError(f"--out {out}: is not Unicode: use another name")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / PLAN).exists() and any(out.iterdir()):
            raise UserError(f"--out {out}: is not empty, and nothing is overwritten: name a new directory")
        same_rules(out / PLAN, sweep.rules())
        write_json(out / PLAN, sweep.rules())
        keep_recipe(out, sweep.recipe, sweep.overrides)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror}") from None


def search(sweep: Sweep, out: Path, trials: int, say: Say) -> dict[str, Any]:
    """Go on until the study has ``trials`` finished or failed trials; return what was found.

    The study lies in ``OUT/study.db``; any number of processes may work on it at once, each
    with trials of its own, and a trial that a kill cut off is repeated.

    Raises:
        UserError: Optuna is not installed, or what it kept there is damaged.
        RunError: the study cannot be reached: a full disk, or another process that does not let go of it.
        KeyboardInterrupt: the user ended it; the same call goes on.
    """
    with _study_named(out / STUDY):
        return _search(sweep, out, trials, say)


@contextmanager
def _study_named(study: Path) -> Iterator[None]:
    """Say in one line what is wrong with a study.

    Raises:
        UserError: it is damaged.
        RunError: it cannot be reached.
    """
    try:
        import optuna
        from sqlalchemy.exc import DBAPIError, OperationalError
    except ImportError:
        raise UserError("a sweep needs an extra package: pip install 'mulligan[sweep]'") from None
    try:
        yield
    except (DBAPIError, optuna.exceptions.StorageInternalError) as error:
        fault = error if isinstance(error, DBAPIError) else error.__cause__
        said = first_line(fault.orig if isinstance(fault, DBAPIError) else error)
        if isinstance(fault, OperationalError):
            raise RunError(f"{study}: {said}") from None
        raise UserError(f"{study}: is damaged, or is none of Optuna's: {said}") from None


def _search(sweep: Sweep, out: Path, trials: int, say: Say) -> dict[str, Any]:
    import optuna
    from sqlalchemy import URL

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    place = URL.create("sqlite", database=str(out / STUDY)).render_as_string()
    study = optuna.create_study(
        storage=optuna.storages.RDBStorage(place, engine_kwargs={"connect_args": {"timeout": 60}}),
        study_name="sweep",
        load_if_exists=True,
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=(sweep.seed + _begun(out)) % 2**32),
    )
    states = optuna.trial.TrialState
    _repeat_what_was_cut_off(study, out)
    processes = Processes(None)
    try:
        with interruptible():
            while len(study.get_trials(False, (states.COMPLETE, states.PRUNED, states.RUNNING))) < trials:
                _one_trial(sweep, study, out, processes, say)
    except (KeyboardInterrupt, Interrupted):
        processes.stop()
        processes.wait()
        raise KeyboardInterrupt from None
    return _report(sweep, study, out)


def _one_trial(sweep: Sweep, study: Any, out: Path, processes: Processes, say: Say) -> None:
    """Ask for a proposal, carry it out, and tell what came of it."""
    from optuna.trial import TrialState

    with ExitStack() as held:
        with lock(out, wait=True):
            trial = study.ask()
            folder = _folder(out, trial.number)
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock(folder))
        value = _try(sweep, trial, folder, processes, say)
        if value is None:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)


def _folder(out: Path, number: int) -> Path:
    return out / f"trial-{number:04d}"


def _repeat_what_was_cut_off(study: Any, out: Path) -> None:
    """Queue the proposals of trials that nobody works on any more."""
    from optuna.trial import TrialState

    with lock(out, wait=True):  # nobody is between asking for a trial and locking its folder
        for trial in study.get_trials(False, (TrialState.RUNNING,)):
            try:
                _folder(out, trial.number).mkdir(exist_ok=True)  # where it was cut off before it had one
                with lock(_folder(out, trial.number)):
                    if study.get_trials(False)[trial.number].state is TrialState.RUNNING:  # still
                        study.tell(trial.number, state=TrialState.FAIL)
                        study.enqueue_trial(trial.params)
            except Busy:
                continue  # another process is at it


def _begun(out: Path) -> int:
    """Count the trials begun, so that a process that joins does not propose what the first did."""
    return sum(1 for _ in out.glob("trial-*"))


def _try(sweep: Sweep, trial: Any, folder: Path, processes: Processes, say: Say) -> float | None:
    """Train and score one proposal; None where it came to nothing."""
    chosen = []
    for one in sweep.ranges:
        if one.choices:
            value: Any = trial.suggest_categorical(one.key, one.choices)
        elif one.whole:
            value = trial.suggest_int(one.key, int(one.low), int(one.high), log=one.log)
        else:
            value = trial.suggest_float(one.key, one.low, one.high, log=one.log)
        chosen.append(f"{one.key}={value if one.choices else _written(value, one.whole)}")
    cell = Cell(
        sweep.recipe, folder.name, sweep.seed, sweep.data, folder, (sweep.mark,),
        (*sweep.overrides, *chosen), sweep.reference, sweep.n, quick=True,
    )  # fmt: skip
    say(f"trial {trial.number}: {' '.join(chosen)}")
    trial.set_user_attr("set", chosen)
    try:
        result: Result = carry_out(cell, processes, say)[-1]
    except Untrainable as error:
        say(f"trial {trial.number}: {error}")
        result = Result(str(error), 0.0, 0, {})
    if result.failed:
        trial.set_user_attr("failed", result.failed)
        return None
    return float(result.card["metrics"]["frechet"]["value"])


def _report(sweep: Sweep, study: Any, out: Path) -> dict[str, Any]:
    """Write ``sweep.json``, ``sweep.csv`` and ``best.toml``; return the first."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name in ("COMPLETE", "PRUNED"):
            rows.append(
                {
                    "trial": trial.number,
                    "frechet": trial.value,
                    "failed": trial.user_attrs.get("failed", ""),
                    **trial.params,
                }
            )
    good = [row for row in rows if row["frechet"] is not None]
    good.sort(key=lambda row: row["frechet"])
    best: dict[str, Any] = {"schema": 1, **sweep.rules(), "trials": rows, "best": None, "set": []}
    if good:
        found = next(t for t in study.get_trials(deepcopy=False) if t.number == good[0]["trial"])
        overrides = [*sweep.overrides, *found.user_attrs["set"]]
        best |= {"best": good[0], "set": overrides}
        write_atomically(out / "best.toml", recipes.read(sweep.recipe, tuple(overrides)).to_toml().encode())
    write_json(out / "sweep.json", best)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(k for row in rows for k in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows([*good, *(row for row in rows if row["frechet"] is None)])
    write_atomically(out / "sweep.csv", text.getvalue().encode())
    return best


def _written(value: float, whole: bool) -> str:
    return str(int(value)) if whole else repr(float(value))
