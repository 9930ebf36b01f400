"""The evaluator: a small network that says what is in an image, by which generators are judged."""

from mulligan.evaluator.fitting import fit
from mulligan.evaluator.judge import About, Evaluator, Judged, in_memory, load, measure_accuracy, save
from mulligan.evaluator.network import untrained

__all__ = [
    "About",
    "Evaluator",
    "Judged",
    "fit",
    "in_memory",
    "load",
    "measure_accuracy",
    "save",
    "untrained",
]
