"""A run's log, as the doctor reads it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mulligan.recipe import Recipe
from mulligan.runlog import Row, finite

FORGOTTEN = 5  # half-lives, after which 3 % of a weight's influence is left
Series = list[tuple[int, float]]  # images seen, value


@dataclass(frozen=True)
class Chart:
    """A recipe, and all rows that a run of it has logged so far."""

    recipe: Recipe
    rows: Sequence[Row]

    @cached_property
    def examined(self) -> list[Row]:
        """The examinations."""
        return [row for row in self.rows if isinstance(row.get("vitals"), dict)]

    @cached_property
    def cards(self) -> list[Row]:
        """The light scorecards."""
        return [row for row in self.rows if isinstance(row.get("card"), dict)]

    @property
    def settled(self) -> list[Row]:
        """The light scorecards from when an average over weights has forgotten the first of them."""
        return [row for row in self.cards if row["images"] >= FORGOTTEN * self.recipe.ema.half_life]

    @property
    def images(self) -> int:
        """Images seen by the last row."""
        return int(self.rows[-1]["images"]) if self.rows else 0

    @property
    def moments(self) -> list[int]:
        """When it was examined, in images seen."""
        return [row["images"] for row in self.examined]

    def sign(self, name: str) -> Series:
        """Follow one vital sign; examinations in which it was not finite, or not taken, are left out."""
        return _numbers((row["images"], row["vitals"].get(name)) for row in self.examined)

    def course(self, name: str) -> Series:
        """Follow one vital sign without its outliers: the median of each moment and the two before."""
        found = self.sign(name)
        values = [value for _, value in found]
        return [
            (images, statistics.median(values[max(0, i - 2) : i + 1])) for i, (images, _) in enumerate(found)
        ]

    def of_cards(self, name: str, *, settled: bool = False) -> Series:
        """Follow one figure of the light scorecards, of all or of the settled ones."""
        rows = self.settled if settled else self.cards
        return _numbers((row["images"], row["card"].get(name)) for row in rows)

    def last(self, name: str, over: int = 1) -> float | None:
        """Return a sign's median over its last examinations; None where it was never taken."""
        values = [value for _, value in self.sign(name)[-over:]]
        return statistics.median(values) if values else None


def _numbers(found: Iterable[tuple[int, object]]) -> Series:
    return [(images, number) for images, value in found if (number := finite(value)) is not None]


def lasting(series: Series, ill: Sequence[bool], *, share: float = 0.0) -> int | None:
    """Return since when a sign has been ill to the end: the images of the first of its last ill moments.

    One healthy moment in five between ill ones is chance. None where it is not ill at the end, or for less
    than ``share`` of the moments.
    """
    onset: int | None = None
    count = good = 0
    for (images, _), bad in zip(reversed(series), reversed(ill), strict=True):
        if bad:
            onset, count = images, count + 1
        else:
            good += 1
            if count == 0 or good > 1 + (count + good) // 5:
                break
    if onset is None or count < max(1, math.ceil(share * len(series))):
        return None
    return onset
