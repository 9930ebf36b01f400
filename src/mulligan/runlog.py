"""A run directory: the interface between training and everything that comes after it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from mulligan.errors import Place, UserError, is_unicode, place, similar
from mulligan.files import try_lock, write_atomically, write_json
from mulligan.recipe import Recipe

LOG = "log.jsonl"
LOCK = ".lock"
RECIPE = "recipe.toml"
ENVIRONMENT = "environment.json"
SAMPLES = "samples"
FRAMES = "samples/timelapse"
TIMELAPSE = "timelapse.webp"
GRID = "grid.png"
PARENT = "parent.json"
HUGE = 1e300  # beyond it a number is none; a NaN is not below it
MOST_IMAGES = 10**15  # in a row; more is no run's

Row = dict[str, Any]


@dataclass(frozen=True)
class Parent:
    """What a run is a second shot of: another run's directory, the moment in it, and what was changed."""

    run: str
    images: int
    changes: list[str]


def create(out: Path | None, recipe: Recipe, runs: Path = Path("runs")) -> Path:
    """Make the directory of a new run: ``out``, or ``runs/<date>-<recipe>-<n>`` with the next free n.

    Raises:
        UserError: ``out`` is there and not empty, or nothing can be written there.
    """
    try:
        if out is not None:
            check_unused(out)
            out.mkdir(parents=True, exist_ok=True)
            return out
        runs.mkdir(parents=True, exist_ok=True)
        stem = f"{date.today().isoformat()}-{recipe.name}-"
        taken = [
            int(m[1]) for d in runs.iterdir() if (m := re.fullmatch(re.escape(stem) + r"(\d{1,9})", d.name))
        ]
        number = max(taken, default=0) + 1
        while True:  # another run may take the same number first
            try:
                (runs / f"{stem}{number}").mkdir()
                return runs / f"{stem}{number}"
            except FileExistsError:
                number += 1
    except OSError as error:
        raise UserError(f"cannot write a run to {out or runs}: {error.strerror}") from None


def of_launch(launch: str, out: Path | None, runs: Path = Path("runs")) -> Path | None:
    """Find the run that an earlier start of the same launch began: ``out``, or one of ``runs``.

    It is one that has a checkpoint; None if there is none.
    """
    for run in [out] if out else runs.glob("*"):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if json.loads((run / ENVIRONMENT).read_text("utf-8")).get("launch") == launch and any(
                (run / "checkpoints").glob("[0-9]*.safetensors")
            ):
                return run
    return None


def check_unused(out: Path) -> None:
    """Refuse a run directory that already holds something.

    Raises:
        UserError: it does, it is no directory, it cannot be looked into, or its name is not Unicode.
    """
    if not is_unicode(out):  # or its checkpoints could be written, and never read
        raise UserError(f"--out {out}: is not Unicode: use another name")
    try:
        if out.is_dir() and any(out.iterdir()):
            raise UserError(f"--out {out}: is not empty, and nothing is overwritten: name a new directory")
        if out.exists() and not out.is_dir():
            raise UserError(f"--out {out}: is a file: name a new directory")
    except OSError as error:
        raise UserError(f"cannot write a run to {out}: {error.strerror}") from None


def wanted(out: Place | None) -> Path | None:
    """Return the run directory that a caller names, if one is named.

    Raises:
        UserError: it is no path, or as ``check_unused``.
    """
    if out is None:
        return None
    directory = Path(place(out, "out"))
    check_unused(directory)
    return directory


def check_writable(file: Path) -> None:
    """Refuse a file that cannot be written, before anything that takes its time.

    Raises:
        UserError: it is a folder, or what is there of its own is none or may not be written to.
    """
    there = next(folder for folder in file.absolute().parents if folder.exists())
    fault = errno.EISDIR if file.is_dir() else 0 if there.is_dir() else errno.ENOTDIR
    if fault or not os.access(there, os.W_OK):
        raise UserError(f"{file}: cannot be written: {os.strerror(fault or errno.EACCES)}")


def describe(run: Path, recipe: Recipe, environment: Row) -> None:
    """Write the resolved recipe and the environment."""
    write_atomically(run / RECIPE, recipe.to_toml().encode())
    write_json(run / ENVIRONMENT, environment)


class Busy(UserError):
    """Another process trains here."""


@contextmanager
def lock(run: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep a run directory to this process; the lock goes when the process does, however it ends.

    Raises:
        Busy: another process trains here, and this one is not to ``wait`` for it.
        UserError: nothing can be written here.
    """
    try:
        file = (run / LOCK).open("a")
    except OSError as error:
        raise UserError(f"{run}: cannot be written: {error.strerror}") from None
    with file:
        try:
            free = try_lock(file, wait=wait)
        except OSError as error:
            raise UserError(f"{run}: cannot be locked: {error.strerror}") from None
        if not free:
            raise Busy(f"{run}: another process is training here")
        yield


def busy(run: Path) -> bool:
    """Is a process training here?"""
    try:
        with (run / LOCK).open() as file:
            return not try_lock(file)
    except OSError:
        return False


def rewind(run: Path, images: int) -> None:
    """Take back what a run wrote after its checkpoint at ``images``: rows, pictures, half-written files.

    With them go the examination and the card of a moment at which the run was only cut off.
    """
    kept = [row for row in rows_so_far(run) if row["images"] <= images and not row.get("cut_off")]
    write_atomically(run / LOG, "".join(json.dumps(row) + "\n" for row in kept).encode())
    for drawn_at, picture in [*pictures(run / SAMPLES), *pictures(run / FRAMES)]:
        if drawn_at > images:
            picture.unlink()
    for half in run.rglob(".*.tmp"):
        half.unlink()


def there(run: Place) -> Path:
    """Return a run directory.

    Raises:
        UserError: there is no directory, or it is no run's.
    """
    directory = Path(place(run, "run"))
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is a file: expected a run directory")
    if not directory.is_dir():
        raise UserError(f"{directory}: no such run directory{similar(directory)}")
    if not (directory / RECIPE).is_file():
        raise UserError(f"{directory}: expected a run directory, with {RECIPE} in it")
    return directory


def pictures(folder: Path) -> list[tuple[int, Path]]:
    """Return a folder's pictures in the order in which they were drawn, each with the images seen then."""
    return sorted((int(path.stem), path) for path in folder.glob("*.png") if path.stem.isdecimal())


def inherit(run: Path, parent: Path, images: int, changes: list[str]) -> None:
    """Give a new run what another had written at ``images``, and keep where it comes from.

    Raises:
        OSError: the disk took no more.
    """
    kept = [row for row in rows_so_far(parent) if row["images"] <= images and not row.get("cut_off")]
    write_atomically(run / LOG, "".join(json.dumps(row) + "\n" for row in kept).encode())
    for folder in (SAMPLES, FRAMES):
        (run / folder).mkdir(parents=True, exist_ok=True)
        for drawn_at, picture in pictures(parent / folder):
            if drawn_at <= images:
                shutil.copyfile(picture, run / folder / picture.name)
    write_json(run / PARENT, asdict(Parent(str(parent.absolute()), images, changes)))


def parent(run: Path) -> Parent | None:
    """Return what a run is a second shot of, if it is one.

    Raises:
        UserError: what says so is damaged.
    """
    path = run / PARENT
    try:
        value = json.loads(path.read_text("utf-8"))
        return Parent(str(value["run"]), int(value["images"]), [str(change) for change in value["changes"]])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        raise UserError(f"{path}: is damaged: expected what `mulligan retry` writes") from None


def data_name(run: Path) -> str:
    """Return the name of the data that a run is trained on.

    Raises:
        UserError: nothing says so.
    """
    path = run / ENVIRONMENT
    try:
        return str(json.loads(path.read_text("utf-8"))["data"]["name"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path}: is damaged: expected what `mulligan train` writes") from None


class RunLog:
    """``log.jsonl``: one JSON object a line, appended and flushed row by row."""

    def __init__(self, run: Path) -> None:
        self._file = (run / LOG).open("a", encoding="utf-8")

    def write(self, row: Row) -> None:
        """Append a row."""
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Bring what was written to the disk, so that a checkpoint never knows more than the log."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def rows(run: Path) -> list[Row]:
    """Read a run's log; a last line that a crash cut short is left out.

    Raises:
        UserError: no log is there.
    """
    try:
        lines = (run / LOG).read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{run / LOG}: cannot be read: {error.strerror}: expected a run directory") from None
    try:
        return [_row(json.loads(line)) for line in lines[:-1] if line]
    except (ValueError, RecursionError, TypeError, KeyError, OverflowError):
        raise UserError(
            f"{run / LOG}: is damaged: expected one JSON object a line, each with its images"
        ) from None


def rows_so_far(run: Path) -> list[Row]:
    """Read a run's log as ``rows`` does; none where it has not begun."""
    return rows(run) if (run / LOG).exists() else []


def cards(found: list[Row]) -> list[Row]:
    """Return those rows that hold a light scorecard of images."""
    known = ((row, row.get("card")) for row in found)
    return [row for row, card in known if isinstance(card, dict) and finite(card.get("frechet")) is not None]


def finite(value: object) -> float | None:
    """Return a number of a log or a card, else None: text, a truth value, a NaN or one beyond all bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < HUGE else None


def _row(value: Any) -> Row:
    row: Row = dict(value)
    row["images"] = int(row["images"])
    if not 0 <= row["images"] < MOST_IMAGES:
        raise ValueError("images")
    return row
