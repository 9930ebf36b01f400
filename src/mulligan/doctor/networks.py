"""Illnesses of one network, of its updates or of what it is fed."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

from mulligan.doctor.chart import Chart, lasting
from mulligan.doctor.diagnosis import Severity
from mulligan.doctor.finding import BAD, IGNORED, LASTING, Finding, certain, warm, who
from mulligan.recipe import REACH

FULL_RANGE = 0.6  # of the generator's reach, that the recipe's range spans; and of this, that real images do
LARGE_UPDATE = 0.1  # of a weight in the first update
MOST_OF_IT = 0.5  # once is enough: weights that have grown by it make the next share a small one
GROWN = 3.0  # -fold, from one examination to the next, and once is enough
GROWTH = 3e-3  # an update, for so long: a run that is well may grow as much in thousands of them
SMALL_UPDATE = 3e-4  # of a weight, at the best of times
SATURATED = 0.5
MOST_EDGE = 0.8  # of the fakes' pixels
DEAD = 0.5
COMPANY = 0.1  # of the distance between fakes, that an image may move with its company
FADED = 0.01  # of the largest gradient that there was
FAINT = 1e-3  # losses are of the order of 1, and so are the gradients that they give
LARGE_SCORE = 200.0  # a logit of 40 is as certain as float32 can say
LARGE_GRADIENT = 1e3


def non_finite(chart: Chart) -> Finding | None:
    """Find the update that broke."""
    row = next((row for row in chart.rows if "not_finite" in row), None)
    if row is None:
        return None
    step = row["step"] if isinstance(row.get("step"), int) else 0
    when = f"step {step:,}" if "within" not in row else f"the {row['within']} steps up to {step:,}"
    return Finding("critical", row["images"], f"{when}: {row['not_finite']} is not finite", {"step": step})


def wrong_range(chart: Chart) -> Finding | None:
    """Find reals that fill little of what the generator can paint."""
    reach = REACH.get(chart.recipe.generator.output)
    lowest, highest = chart.sign("real_low"), chart.sign("real_high")
    if reach is None or not lowest or not highest:
        return None
    found = min(value for _, value in lowest), max(value for _, value in highest)
    low, high = chart.recipe.data.pixels
    if high - low >= FULL_RANGE * (reach[1] - reach[0]) and found[1] - found[0] >= FULL_RANGE * (high - low):
        return None
    text = (
        f"real pixels lie from {found[0]:.3g} to {found[1]:.3g}, "
        f"and the generator paints from {reach[0]:g} to {reach[1]:g}"
    )
    figures = {"real_low": found[0], "real_high": found[1], "reach_low": reach[0], "reach_high": reach[1]}
    return Finding("critical", lowest[0][0], text, figures)


def too_high(chart: Chart) -> Finding | None:
    """Find updates that are a large share of the weights, or weights that such updates have made large."""
    onsets: list[int] = []
    shares: dict[str, float] = {}
    growth: dict[str, float] = {}
    update = chart.recipe.data.batch * chart.recipe.step.d_steps
    for side in ("d", "g"):
        updates, sizes = chart.sign(f"{side}_update"), chart.sign(f"{side}_weight")
        large = [(images, share) for images, share in updates if share > LARGE_UPDATE]
        if large and (large[0] == updates[0] or len(large) > 1 or large[0][1] > MOST_OF_IT):
            onsets.append(large[0][0])
            shares[side] = max(share for _, share in large)
        grown = [
            (now, after / size)
            for (before, size), (now, after) in pairwise(sizes)
            if after > size * max(GROWN, _most(now - before, update)) > 0
        ]
        if grown:
            onsets.append(grown[0][0])
            growth[side] = max(times for _, times in grown)
    if not onsets:
        return None
    said = []
    if shares:
        each = " and ".join(f"{share:.0%} of the {who(side)}'s" for side, share in shares.items())
        said.append(f"an update changes up to {each} weights")
    if growth:
        each = " and ".join(f"the {who(side)}'s {times:.2g}-fold" for side, times in growth.items())
        said.append(f"weights grew between two examinations, {each}")
    figures = {f"{side}_update": share for side, share in shares.items()}
    figures |= {f"{side}_growth": times for side, times in growth.items()}
    return Finding("critical", min(onsets), "; ".join(said), figures)


def _most(images: int, update: int) -> float:
    """Return the factor by which weights may grow in so many images."""
    return math.exp(min(GROWTH * images / update, 100.0))


def too_low(chart: Chart) -> Finding | None:
    """Find updates that are next to nothing."""
    figures = {}
    for side in ("d", "g"):
        shares = [value for _, value in chart.sign(f"{side}_update")]
        if shares and max(shares) < SMALL_UPDATE:
            figures[f"{side}_update"] = max(shares)
    if not figures or not warm(chart):
        return None
    said = " and ".join(f"{share:.1g} of the {who(name[0])}'s" for name, share in figures.items())
    severity: Severity = "critical" if (chart.last("energy") or 0) > BAD else "warning"
    return Finding(severity, chart.moments[0], f"an update changes at the most {said} weights", figures)


def exploding(chart: Chart) -> Finding | None:
    """Find answers or gradients that grow without bound."""
    if chart.recipe.constraint.clip or chart.recipe.discriminator.spectral_norm:
        return None
    of_fakes = dict(chart.course("fake_score"))
    scores = [
        (images, max(abs(real), abs(of_fakes.get(images, 0)))) for images, real in chart.course("real_score")
    ]
    onset = lasting(scores, [value > LARGE_SCORE for _, value in scores])
    if onset is not None and len(scores) >= 3:
        text = f"the discriminator's answers have grown from {scores[0][1]:.2g} to {scores[-1][1]:.2g}"
        return Finding("critical", onset, text, {"before": scores[0][1], "now": scores[-1][1]})
    for side in ("d", "g"):
        norms = chart.course(f"{side}_grad")
        if len(norms) < 3:
            continue
        usual = statistics.median([value for _, value in norms[: max(2, len(norms) // 5)]])
        onset = lasting(norms, [value > max(100 * usual, LARGE_GRADIENT) for _, value in norms])
        if onset is not None:
            text = f"the {who(side)}'s gradient has grown from {usual:.2g} to {norms[-1][1]:.2g}"
            return Finding("critical", onset, text, {"before": usual, "now": norms[-1][1]})
    return None


def saturated(chart: Chart) -> Finding | None:
    """Find tanh units on their flat ends, hidden or those that paint."""
    hidden = _units(chart, "saturated", SATURATED, "hidden tanh values lie on its flat ends")
    return hidden or _flat_painter(chart)


def _flat_painter(chart: Chart) -> Finding | None:
    """Find a generator that paints the ends of its range for every latent, where it has no slope left.

    It is stuck there if D, which sees it, cannot bring it back, and its other units are alive.
    """
    if chart.recipe.generator.output not in REACH or (chart.last("energy") or 0) < BAD:
        return None
    if not certain(chart) or dead(chart):
        return None
    if chart.recipe.data.pixels != REACH[chart.recipe.generator.output]:
        return None  # the ends of one are not those of the other
    reals, spread = dict(chart.course("real_edge")), dict(chart.course("diversity"))
    series = chart.course("fake_edge")
    ill = [
        share > max(reals.get(images, 1.0), MOST_EDGE) and spread.get(images, 1.0) < IGNORED
        for images, share in series
    ]
    onset = lasting(series, ill, share=LASTING)
    if onset is None or len(series) < 3:
        return None
    output, (now, then) = chart.recipe.generator.output, series[-1]
    text = (
        f"{then:.0%} of the fakes' pixels lie at the ends of the generator's {output}, "
        f"{reals[now]:.0%} of the reals', and two fakes differ by {spread[now]:.1g} of what two reals do"
    )
    return Finding("critical", onset, text, {"fake_edge": then, "diversity": spread[now]})


def dead(chart: Chart) -> Finding | None:
    """Find rectified units that never answer."""
    return _units(chart, "dead", DEAD, "rectified units answer 0 to every image")


def _units(chart: Chart, sign: str, most: float, text: str) -> Finding | None:
    """Find units that are ill in either network."""
    found = []
    for side in ("g", "d"):
        series = chart.course(f"{side}_{sign}")
        onset = lasting(series, [value > most for _, value in series], share=LASTING)
        if onset is not None and len(series) >= 3:
            found.append((onset, side, series[-1][1]))
    if not found:
        return None
    said = " and ".join(f"{share:.0%} of the {who(side)}'s" for _, side, share in found)
    severity: Severity = "critical" if max(share for *_, share in found) > 0.9 else "warning"
    figures = {f"{side}_{sign}": share for _, side, share in found}
    return Finding(severity, min(found)[0], f"{said} {text}", figures)


def leak(chart: Chart) -> Finding | None:
    """Find images that depend on their batch."""
    spread = dict(chart.course("diversity"))
    series = [
        (images, effect / spread[images])
        for images, effect in chart.course("batch_effect")
        if spread.get(images, 0) > IGNORED / 10
    ]
    onset = lasting(series, [share > COMPANY for _, share in series], share=LASTING)
    if onset is None or len(series) < 3:
        return None
    share = series[-1][1]
    text = (
        f"one latent's image moves by {share:.0%} of the distance between fakes when the rest of its batch "
        "is exchanged"
    )
    return Finding("critical" if share > 2 * COMPANY else "warning", onset, text, {"batch_effect": share})


def vanishing(chart: Chart) -> Finding | None:
    """Find a generator that gets no gradient from a D that is sure."""
    norms = chart.course("g_grad")
    if len(norms) < 3:
        return None
    usual = max(value for _, value in norms)
    ill = [value < max(FADED * usual, FAINT) for _, value in norms]
    onset = lasting(norms, ill, share=LASTING)
    if onset is None or not certain(chart):
        return None
    text = f"the generator's gradient has fallen from {usual:.2g} to {norms[-1][1]:.2g}"
    return Finding("critical", onset, text, {"before": usual, "now": norms[-1][1]})
