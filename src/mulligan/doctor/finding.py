"""What a rule returns, and what rules have in common."""

from __future__ import annotations

from dataclasses import dataclass

from mulligan.doctor.chart import Chart
from mulligan.doctor.diagnosis import Severity

LASTING = 0.2  # of all examinations, that a sign must have been ill for to its end
WARM = 150  # batches of reals that any network needs before it can be held to anything
IGNORED = 0.01
COLLAPSED = 0.25
BAD = 0.1  # energy distance: a human sees at once which are the reals
CERTAIN = 0.99  # separation
GOOD = 10.0  # floors
FALLING = 0.8  # of the Fréchet distance two scorecards before


@dataclass(frozen=True)
class Finding:
    """What a rule has found, in figures and in a sentence."""

    severity: Severity
    onset: int
    text: str
    figures: dict[str, float]


def warm(chart: Chart) -> bool:
    """Tell whether the networks have had time to learn anything."""
    return bool(chart.examined) and chart.moments[-1] >= WARM * chart.recipe.data.batch


def certain(chart: Chart) -> bool:
    """Tell whether D is sure of late."""
    return (chart.last("separation", over=3) or 0) > CERTAIN


def improving(chart: Chart) -> bool:
    """Tell whether images are not good yet, and were becoming so when they were last judged."""
    frechet, floor = chart.of_cards("frechet"), chart.of_cards("frechet_floor")
    if len(frechet) < 3 or not floor or frechet[-1][1] < GOOD * floor[-1][1]:
        return False
    return frechet[-1][1] < FALLING * frechet[-3][1]


def who(side: str) -> str:
    """Name a network by its side."""
    return "discriminator" if side == "d" else "generator"
