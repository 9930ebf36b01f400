"""The one kind of error a user can cause, and the help it gives."""

from __future__ import annotations

import difflib
import operator
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

Place = str | os.PathLike[str]  # as callers may say where something is

LONGEST = 200  # characters of another library's message
BESIDE = 1_000  # names in a folder that are compared with one that is not there


class UserError(ValueError):
    """Something the user asked for cannot be done.

    The message is one line: what is wrong, where, what was expected and, where there is
    one, the nearest right value. The command line prints it and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class RunError(RuntimeError):
    """A run that began as it should could not go on (a full disk, a loss that is not finite).

    The message is one line. The command line prints it and exits with code 1. ``run`` is the run's
    directory, where there is one.
    """

    run: Path | None = None

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(message: str) -> str:
    """Escape line ends and whatever else a name can hold that a terminal must not be sent."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)


def is_unicode(path: object) -> bool:
    """Can a name be written in UTF-8? On Linux it may be any bytes, and some libraries open no such file."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def out_of_memory(error: Exception) -> bool:
    """Tell NumPy's, PyTorch's and a GPU's ways of saying so, without importing torch."""
    return isinstance(error, MemoryError) or any(
        word in f"{type(error).__name__} {error}" for word in ("OutOfMemoryError", "DefaultCPUAllocator")
    )


def first_line(error: object) -> str:
    """Return the first line of a message, for use within one of ours; neither empty nor endless."""
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def nearest(wrong: str, right: Iterable[str]) -> str:
    """Return a suffix such as `` (did you mean 'mlp-relu'?)``, or the choices, for a message."""
    choices = sorted(right)
    close = difflib.get_close_matches(wrong, choices, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (choose from {', '.join(choices)})" if choices else ""


def similar(path: Path, known: Iterable[str] = ()) -> str:
    """Return a suffix such as `` (did you mean 'runs/swift'?)`` for a path that is not there; else nothing.

    Looked through are the path's folder and ``known``, names that need no file.
    """
    try:
        beside = {entry.name: str(entry) for entry in islice(path.parent.iterdir(), BESIDE)}
    except (OSError, ValueError):
        beside = {}
    beside.update((name, name) for name in known)
    beside.pop(path.name, None)  # it is there, and something else
    close = difflib.get_close_matches(path.name, beside, n=1)
    return f" (did you mean {beside[close[0]]!r}?)" if close else ""


def whole(value: Any, what: str, least: int, most: int | None = None) -> int:
    """Return a caller's whole number, NumPy's too.

    Raises:
        UserError: it is none, or out of range.
    """
    try:
        found = operator.index(value)
    except TypeError:
        found = least - 1
    if found < least or (most is not None and found > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{what}: expected a whole number {span}, got {value!r}")
    return found


def check_callable(value: Any, what: str) -> None:
    """Refuse what a caller wants called and cannot be.

    Raises:
        UserError: it is neither callable nor None.
    """
    if value is not None and not callable(value):
        raise UserError(f"{what}: expected a function, got {type(value).__name__}")


def place(value: Any, what: str) -> str:
    """Return the path that a caller named, or that of what knows its own, such as a ``Run``, as it is.

    A `Path` would make a set's name of ``./mnist``.

    Raises:
        UserError: it is neither.
    """
    try:
        return os.fsdecode(value)
    except TypeError:
        raise UserError(f"{what}: expected a path, got {type(value).__name__}") from None
