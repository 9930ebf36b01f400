"""The scorecard: the truth about a set of images, with error bars and floors."""

from mulligan.scorecard.building import build
from mulligan.scorecard.card import Metric, NearCopies, Scorecard, Warning
from mulligan.scorecard.evaluation import (
    TOYS,
    assist,
    check_suits,
    evaluate,
    how_to_judge,
    judge,
    neighbours,
    suited,
    with_inception,
)
from mulligan.scorecard.light import Light
from mulligan.scorecard.reference import Reference, find, save
from mulligan.scorecard.source import Samples

__all__ = [
    "TOYS",
    "Light",
    "Metric",
    "NearCopies",
    "Reference",
    "Samples",
    "Scorecard",
    "Warning",
    "assist",
    "build",
    "check_suits",
    "evaluate",
    "find",
    "how_to_judge",
    "judge",
    "neighbours",
    "save",
    "suited",
    "with_inception",
]
