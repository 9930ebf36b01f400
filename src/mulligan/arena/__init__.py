"""The arena: many runs under one budget, and what may be said of the difference."""

from mulligan.arena.cells import Cell, Mark, Result
from mulligan.arena.contest import Contest, hold

__all__ = ["Cell", "Contest", "Mark", "Result", "hold"]
