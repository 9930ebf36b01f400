"""Illnesses that show in what is painted."""

from __future__ import annotations

from mulligan.doctor.chart import Chart, lasting
from mulligan.doctor.diagnosis import Severity
from mulligan.doctor.finding import COLLAPSED, IGNORED, LASTING, Finding, improving, warm

CLOSE = 0.65
MODES = 0.75
PERSISTENT = 4  # scorecards


def ignored(chart: Chart) -> Finding | None:
    """Find a generator that never read z; of one that has stopped, its collapse is the first thing to say."""
    if chart.recipe.generator.output == "linear" and chart.recipe.condition.kind != "none":
        return None  # a group of points is small beside the plane
    series = chart.course("latent_effect")
    onset = lasting(series, [value < IGNORED for _, value in series], share=LASTING)
    if onset is None or not warm(chart):
        return None
    text = f"two latents' images differ by {series[-1][1]:.1g} of what two real images do"
    once = max(value for _, value in series)
    severity: Severity = "warning" if once > 5 * IGNORED else "critical"  # else it has collapsed since
    return Finding(severity, onset, text, {"latent_effect": series[-1][1]})


def collapsed(chart: Chart) -> Finding | None:
    """Find fakes that are all alike, or modes that are gone."""
    modes, possible = chart.of_cards("modes", settled=True), chart.of_cards("modes_floor", settled=True)
    every = possible[-1][1] if possible else 0.0
    onset = lasting(modes, [value < MODES * every for _, value in modes])
    if onset is not None and len(modes) > 1:
        text = f"{modes[-1][1]:.0f} of {every:.0f} modes are painted"
        return Finding("critical", onset, text, {"modes": modes[-1][1], "modes_floor": every})
    series = chart.course("diversity")
    onset = lasting(series, [value < COLLAPSED for _, value in series], share=LASTING)
    if onset is None or not warm(chart) or len(series) < 3:
        return None
    text = f"two fakes differ by {series[-1][1]:.1g} of what two real images do"
    return Finding("critical", onset, text, {"diversity": series[-1][1]})


def missing(chart: Chart) -> Finding | None:
    """Find classes that stay away."""
    cards = [row for row in chart.settled if isinstance(row["card"].get("missing"), list)]
    if len(cards) < 3 or not warm(chart):
        return None
    lacking = [set(map(str, row["card"]["missing"])) for row in cards]
    histogram = cards[-1]["card"].get("classes")
    classes = len(histogram) if isinstance(histogram, list) else 10
    begun = next((i for i, missing in enumerate(lacking) if 2 * len(missing) <= classes), len(cards))
    if len(cards) - begun >= PERSISTENT:  # most have come by then: what has not will not
        gone = set.intersection(*lacking[-PERSISTENT:])
    else:
        gone = set() if improving(chart) else set.intersection(*lacking[-3:])
    if not gone:
        return None
    onset = lasting([(row["images"], 0.0) for row in cards], [gone <= missing for missing in lacking])
    text = f"classes hardly painted, card after card: {', '.join(sorted(gone))}"
    return Finding("warning", onset or chart.images, text, {"missing": float(len(gone))})


def memorising(chart: Chart) -> Finding | None:
    """Find fakes that keep too near to a small training set."""
    series = chart.course("closer")
    onset = lasting(series, [value > CLOSE for _, value in series], share=LASTING)
    if onset is None or len(series) < 3 or (chart.last("diversity", over=3) or 0) < COLLAPSED / 5:
        return None  # one blur is near to everything
    text = (
        f"with chance {series[-1][1]:.2f} a fake lies nearer to a training image than another of those does"
    )
    return Finding("warning", onset, text, {"closer": series[-1][1]})


def undertrained(chart: Chart) -> Finding | None:
    """Note a run that ended while it was getting better."""
    if not chart.examined:
        return None
    energy, frechet = chart.course("energy"), chart.of_cards("frechet")
    figures = {"images": float(chart.images)}
    if energy:
        figures["energy"] = energy[-1][1]
    if frechet:
        figures["frechet"] = frechet[-1][1]
    if not warm(chart):
        batches = chart.images // chart.recipe.data.batch
        return Finding("note", chart.images, f"D has seen no more than {batches:,} batches", figures)
    if not improving(chart):
        return None
    text = f"the Fréchet distance has come to {figures['frechet']:.3g} and was still falling"
    return Finding("note", chart.images, text, figures)
