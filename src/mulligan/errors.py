"""The one kind of error a user can cause, and the help it gives."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user asked for cannot be done.

    The message is one line: what is wrong, where, what was expected and, where there is
    one, the nearest right value. The command line prints it and exits with code 2.
    """


class RunError(RuntimeError):
    """A run that began as it should could not go on (a full disk, a loss that is not finite).

    The message is one line. The command line prints it and exits with code 1.
    """


def nearest(wrong: str, right: Iterable[str]) -> str:
    """Return a suffix such as `` (did you mean 'mlp-relu'?)``, or the choices, for a message."""
    choices = sorted(right)
    close = difflib.get_close_matches(wrong, choices, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (choose from {', '.join(choices)})" if choices else ""
