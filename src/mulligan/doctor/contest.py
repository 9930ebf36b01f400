"""Illnesses of the game between the two networks."""

from __future__ import annotations

import statistics
from itertools import pairwise

from mulligan.doctor.chart import Chart, lasting
from mulligan.doctor.finding import BAD, CERTAIN, COLLAPSED, LASTING, Finding, warm
from mulligan.doctor.prescriptions import fastest

BLIND = 0.65
HEAVY = 2.0  # times D's loss, that a penalty may be while fakes are bad
BURIED = 30.0  # times D's loss, at which D minimises the penalty and nothing else
LIGHT = 0.05
SWING = 0.6
SWAY = 5.0
STEEP = 5.0  # where a penalty asks for 1


def too_strong(chart: Chart) -> Finding | None:
    """Find a penalty that blinds D."""
    if not chart.recipe.penalty.used or not warm(chart):
        return None
    energy, separation = chart.course("energy"), dict(chart.course("separation"))
    penalty, loss = dict(chart.course("penalty")), dict(chart.course("d_loss"))
    slopes = dict(chart.course("slope"))

    def flat(images: int, distance: float) -> bool:
        blind = separation.get(images, 1) < BLIND and distance > 2 * BAD
        weight, lost = penalty.get(images, 0), abs(loss.get(images, 0))
        if separation.get(images, 0) > CERTAIN:
            return False  # a D that is sure is not held down
        buried = weight > BURIED * lost > 0 and slopes.get(images, 1) < 1  # and not large because D is steep
        return blind or (distance > BAD and weight > HEAVY * lost) or buried

    onset = lasting(energy, [flat(images, distance) for images, distance in energy], share=LASTING)
    if onset is None:
        return None
    last = energy[-1][0]
    figures = {
        "energy": energy[-1][1],
        "separation": separation.get(last, 0),
        "penalty": penalty.get(last, 0),
    }
    text = (
        f"the penalty is {figures['penalty']:.2g} beside a loss of {loss.get(last, 0):.2g}; D puts a real "
        f"above a fake with chance {figures['separation']:.2f}, and in pixels they lie "
        f"{figures['energy']:.2f} of the distance between reals apart"
    )
    return Finding("critical", onset, text, figures)


def too_weak(chart: Chart) -> Finding | None:
    """Find a penalty that does not hold D back."""
    used = chart.recipe.penalty.used
    if not used or chart.recipe.generator.output == "linear":  # in a plane a slope has no natural size
        return None
    slopes, penalty, loss = chart.course("slope"), dict(chart.course("penalty")), dict(chart.course("d_loss"))
    to_one = not {"r1", "r2"} & used.keys()  # the others ask for a slope of 1

    def steep(images: int, slope: float) -> bool:
        if to_one:
            return slope > STEEP
        return slope > 1.5 and penalty.get(images, 0) < LIGHT * abs(loss.get(images, 0))

    onset = lasting(slopes, [steep(images, slope) for images, slope in slopes], share=2 * LASTING)
    if onset is None or not warm(chart):
        return sure(chart)
    last, slope = slopes[-1]
    text = (
        f"the discriminator's slope is {slope:.2g}, the penalty of it {penalty.get(last, 0):.2g} beside a "
        f"loss of {loss.get(last, 0):.2g}"
    )
    figures = {"slope": slope, "penalty": penalty.get(last, 0.0), "d_loss": loss.get(last, 0.0)}
    return Finding("critical" if (chart.last("energy") or 0) > BAD else "warning", onset, text, figures)


def overpowers(chart: Chart) -> Finding | None:
    """Find a D without a penalty that is sure of everything while fakes stay bad."""
    rates, steps = chart.recipe.optimizer, chart.recipe.step.d_steps
    outrun = fastest(rates.generator.lr) > 3 * steps * fastest(rates.discriminator.lr)
    return None if chart.recipe.penalty.used or outrun else sure(chart)


def sure(chart: Chart) -> Finding | None:
    """D is sure, and fakes do not get better."""
    separation, energy = chart.course("separation"), chart.course("energy")
    if not energy or not warm(chart):
        return None
    bad = dict(energy)
    ill = [value > CERTAIN and bad.get(images, 0) > 3 * BAD for images, value in separation]
    onset = lasting(separation, ill, share=2 * LASTING)
    if onset is None:
        return None
    figures = {
        "separation": separation[-1][1],
        "energy": energy[-1][1],
        "slope": chart.last("slope") or 0.0,
        "d_loss": chart.last("d_loss") or 0.0,
    }
    text = (
        f"the discriminator puts a real above a fake with chance {figures['separation']:.3f}, its loss is "
        f"{figures['d_loss']:.2g}, and fakes stay {figures['energy']:.2f} of the distance between reals away"
    )
    return Finding("critical", onset, text, figures)


def swinging(chart: Chart) -> Finding | None:
    """Find networks that chase each other."""
    energy = chart.last("energy", over=5) or 0
    half = chart.examined[len(chart.examined) // 2 :]
    alike = (chart.last("diversity", over=len(half)) or 0) < COLLAPSED
    if len(half) < 4 or not warm(chart) or energy < BAD / 2 or alike:
        return None
    centres = [row["vitals"].get("centre") for row in half]
    moved = [
        abs(p - q)
        for a, b in pairwise(centres)
        if isinstance(a, list) and isinstance(b, list)
        for p, q in zip(a, b, strict=False)
        if isinstance(p, float) and isinstance(q, float)
    ]
    scores = [(row["vitals"].get("real_score"), row["vitals"].get("fake_score")) for row in half]
    known = [(a, b) for a, b in scores if isinstance(a, float) and isinstance(b, float)]
    if not moved or len(known) < 4:
        return None
    swing = statistics.median(moved)
    gap = max(statistics.median(abs(a - b) for a, b in known), 1e-9)
    level = statistics.median(abs((a + b) - (c + d)) / 2 for (a, b), (c, d) in pairwise(known)) / gap
    free = not chart.recipe.penalty.used and not chart.recipe.objective.has_probability
    if swing < SWING and not (free and level > SWAY):
        return None
    text = (
        f"from one examination to the next the fakes' mean moves by {swing:.2f} of reals' deviation, and D's "
        f"answers by {level:.1f} times what they differ between reals and fakes"
    )
    return Finding("critical", half[0]["images"], text, {"swing": swing, "sway": level, "energy": energy})
