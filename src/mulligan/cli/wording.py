"""Figures and tables as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mulligan.errors import printable


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return rows of equally many cells as lines whose columns stand below one another.

    What a terminal must not be sent is escaped: names in them may be anybody's.
    """
    rows = [list(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def duration(seconds: float) -> str:
    """Say how long something takes: ``40 s``, ``2 min 5 s``, ``3 h 20 min``."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60} s"
    return f"{minutes // 60:,} h {minutes % 60} min"
