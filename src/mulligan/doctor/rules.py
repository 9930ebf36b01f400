"""What each disease looks like in a run's log.

Thresholds were chosen on runs that were made ill on purpose; docs/diagnosis.md says how often they are right.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from mulligan.doctor.chart import Chart, Series, lasting
from mulligan.doctor.diagnosis import Kind, Severity
from mulligan.doctor.prescriptions import fastest

# Causes before what they cause: of verdicts equally severe the first is the one to cure.
ORDER: tuple[Kind, ...] = (
    "non-finite",
    "wrong-pixel-range",
    "learning-rate-too-high",
    "learning-rate-too-low",
    "saturated-units",
    "dead-units",
    "batchnorm-leak",
    "latent-ignored",
    "penalty-too-weak",
    "exploding-gradient",
    "vanishing-generator-gradient",
    "penalty-too-strong",
    "oscillation",
    "discriminator-overpowers",
    "mode-collapse",
    "missing-classes",
    "memorising",
    "undertrained",
)

LASTING = 0.2  # of all examinations, that a sign must have been ill for to its end
WARM = 150  # batches of reals that any network needs before it can be held to anything
FULL_RANGE = 0.6  # of the generator's reach: real images span more
LARGE_UPDATE = 0.1  # of a weight in the first update
SMALL_UPDATE = 3e-4  # of a weight, at the best of times
SATURATED = 0.5
DEAD = 0.5
COMPANY = 0.1  # of the distance between fakes, that an image may move with its company
IGNORED = 0.01
COLLAPSED = 0.25
BAD = 0.1  # energy distance: a human sees at once which are the reals
CERTAIN = 0.99  # separation
FADED = 0.01  # of the largest gradient that there was
FAINT = 1e-3  # losses are of the order of 1, and so are the gradients that they give
BLIND = 0.65
CLOSE = 0.65
HEAVY = 2.0  # times D's loss, that a penalty may be
LIGHT = 0.05
SWING = 0.6
SWAY = 5.0
STEEP = 5.0  # where a penalty asks for 1
LARGE_SCORE = 200.0  # a logit of 40 is as certain as float32 can say
LARGE_GRADIENT = 1e3
MODES = 0.75
PERSISTENT = 4  # scorecards
GOOD = 10.0  # floors
FALLING = 0.8  # of the Fréchet distance two scorecards before


@dataclass(frozen=True)
class Finding:
    """What a rule has found, in figures and in a sentence."""

    severity: Severity
    onset: int
    text: str
    figures: dict[str, float]


Rule = Callable[[Chart], Finding | None]


def _non_finite(chart: Chart) -> Finding | None:
    row = next((row for row in chart.rows if "not_finite" in row), None)
    if row is None:
        return None
    step = int(row.get("step", 0))
    return Finding(
        "critical", row["images"], f"step {step:,}: {row['not_finite']} is not finite", {"step": step}
    )


def _wrong_range(chart: Chart) -> Finding | None:
    reach = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}.get(chart.recipe.generator.output)
    lowest, highest = chart.sign("real_low"), chart.sign("real_high")
    if reach is None or not lowest or not highest:
        return None
    found = min(value for _, value in lowest), max(value for _, value in highest)
    share = (found[1] - found[0]) / (reach[1] - reach[0])
    if share >= FULL_RANGE:
        return None
    text = (
        f"real pixels lie from {found[0]:.3g} to {found[1]:.3g}, "
        f"and the generator paints from {reach[0]:g} to {reach[1]:g}"
    )
    figures = {"real_low": found[0], "real_high": found[1], "reach_low": reach[0], "reach_high": reach[1]}
    return Finding("critical", lowest[0][0], text, figures)


def _exploding(chart: Chart) -> Finding | None:
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
            text = f"the {_who(side)}'s gradient has grown from {usual:.2g} to {norms[-1][1]:.2g}"
            return Finding("critical", onset, text, {"before": usual, "now": norms[-1][1]})
    return None


def _too_high(chart: Chart) -> Finding | None:
    figures, onset = {}, chart.images
    for side in ("d", "g"):
        shares = chart.sign(f"{side}_update")
        large = [(images, share) for images, share in shares if share > LARGE_UPDATE]
        if large and (large[0] == shares[0] or len(large) > 1):
            onset = min(onset, large[0][0])
            figures[f"{side}_update"] = max(share for _, share in large)
    if not figures:
        return None
    who = " and ".join(f"{share:.0%} of the {_who(name[0])}'s" for name, share in figures.items())
    return Finding("critical", onset, f"an update changes up to {who} weights", figures)


def _too_low(chart: Chart) -> Finding | None:
    figures = {}
    for side in ("d", "g"):
        shares = [value for _, value in chart.sign(f"{side}_update")]
        if shares and max(shares) < SMALL_UPDATE:
            figures[f"{side}_update"] = max(shares)
    if not figures or not _warm(chart):
        return None
    who = " and ".join(f"{share:.1g} of the {_who(name[0])}'s" for name, share in figures.items())
    severity: Severity = "critical" if (chart.last("energy") or 0) > BAD else "warning"
    return Finding(severity, chart.moments[0], f"an update changes at the most {who} weights", figures)


def _saturated(chart: Chart) -> Finding | None:
    return _units(chart, "saturated", SATURATED, "hidden tanh values lie on its flat ends")


def _dead(chart: Chart) -> Finding | None:
    return _units(chart, "dead", DEAD, "rectified units answer 0 to every image")


def _units(chart: Chart, sign: str, most: float, text: str) -> Finding | None:
    found = []
    for side in ("g", "d"):
        series = chart.course(f"{side}_{sign}")
        onset = lasting(series, [value > most for _, value in series], share=LASTING)
        if onset is not None and len(series) >= 3:
            found.append((onset, side, series[-1][1]))
    if not found:
        return None
    said = " and ".join(f"{share:.0%} of the {_who(side)}'s" for _, side, share in found)
    severity: Severity = "critical" if max(share for *_, share in found) > 0.9 else "warning"
    figures = {f"{side}_{sign}": share for _, side, share in found}
    return Finding(severity, min(found)[0], f"{said} {text}", figures)


def _leak(chart: Chart) -> Finding | None:
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


def _vanishing(chart: Chart) -> Finding | None:
    norms = chart.course("g_grad")
    if len(norms) < 3:
        return None
    usual = max(value for _, value in norms)
    ill = [value < max(FADED * usual, FAINT) for _, value in norms]
    onset = lasting(norms, ill, share=LASTING)
    if onset is None or not _certain(chart):
        return None
    text = f"the generator's gradient has fallen from {usual:.2g} to {norms[-1][1]:.2g}"
    return Finding("critical", onset, text, {"before": usual, "now": norms[-1][1]})


def _too_strong(chart: Chart) -> Finding | None:
    if not chart.recipe.penalty.used or not _warm(chart):
        return None
    energy, separation = chart.course("energy"), dict(chart.course("separation"))
    penalty, loss = dict(chart.course("penalty")), dict(chart.course("d_loss"))

    def flat(images: int, distance: float) -> bool:
        blind = separation.get(images, 1) < BLIND and distance > 2 * BAD
        return blind or (distance > BAD and penalty.get(images, 0) > HEAVY * abs(loss.get(images, 0)))

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
        f"above a fake with chance {figures['separation']:.2f}, although in pixels they lie "
        f"{figures['energy']:.2f} of the distance between reals apart"
    )
    return Finding("critical", onset, text, figures)


def _too_weak(chart: Chart) -> Finding | None:
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
    if onset is None or not _warm(chart):
        return _sure(chart)
    last, slope = slopes[-1]
    text = (
        f"the discriminator's slope is {slope:.2g}, the penalty of it {penalty.get(last, 0):.2g} beside a "
        f"loss of {loss.get(last, 0):.2g}"
    )
    figures = {"slope": slope, "penalty": penalty.get(last, 0.0), "d_loss": loss.get(last, 0.0)}
    return Finding("critical" if (chart.last("energy") or 0) > BAD else "warning", onset, text, figures)


def _overpowers(chart: Chart) -> Finding | None:
    rates, steps = chart.recipe.optimizer, chart.recipe.step.d_steps
    outrun = fastest(rates.generator.lr) > 3 * steps * fastest(rates.discriminator.lr)
    return None if chart.recipe.penalty.used or outrun else _sure(chart)


def _sure(chart: Chart) -> Finding | None:
    """D is sure, and fakes do not get better."""
    separation, energy = chart.course("separation"), chart.course("energy")
    if not energy or not _warm(chart):
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


def _ignored(chart: Chart) -> Finding | None:
    if chart.recipe.generator.output == "linear" and chart.recipe.condition.kind != "none":
        return None  # a group of points is small beside the plane
    series = chart.course("latent_effect")
    onset = lasting(series, [value < IGNORED for _, value in series], share=LASTING)
    if onset is None or not _warm(chart):
        return None
    text = f"two latents' images differ by {series[-1][1]:.1g} of what two real images do"
    once = max(value for _, value in series)
    severity: Severity = "warning" if once > 5 * IGNORED else "critical"  # else it has collapsed since
    return Finding(severity, onset, text, {"latent_effect": series[-1][1]})


def _collapsed(chart: Chart) -> Finding | None:
    modes, possible = _settled(chart, "modes"), _settled(chart, "modes_floor")
    onset = lasting(modes, [value < MODES * possible[0][1] for _, value in modes])
    if onset is not None and len(modes) > 1:
        text = f"{modes[-1][1]:.0f} of {possible[0][1]:.0f} modes are painted"
        return Finding("critical", onset, text, {"modes": modes[-1][1], "modes_floor": possible[0][1]})
    series = chart.course("diversity")
    onset = lasting(series, [value < COLLAPSED for _, value in series], share=LASTING)
    if onset is None or not _warm(chart) or len(series) < 3:
        return None
    text = f"two fakes differ by {series[-1][1]:.1g} of what two real images do"
    return Finding("critical", onset, text, {"diversity": series[-1][1]})


def _missing(chart: Chart) -> Finding | None:
    cards = [row for row in chart.settled if isinstance(row["card"].get("missing"), list)]
    if len(cards) < 3 or not _warm(chart):
        return None
    lacking = [set(map(str, row["card"]["missing"])) for row in cards]
    classes = len(cards[-1]["card"].get("classes") or ()) or 10
    begun = next((i for i, missing in enumerate(lacking) if 2 * len(missing) <= classes), len(cards))
    if len(cards) - begun >= PERSISTENT:  # most have come by then: what has not will not
        gone = set.intersection(*lacking[-PERSISTENT:])
    else:
        gone = set() if _improving(chart) else set.intersection(*lacking[-3:])
    if not gone:
        return None
    onset = lasting([(row["images"], 0.0) for row in cards], [gone <= missing for missing in lacking])
    text = f"classes hardly painted, card after card: {', '.join(sorted(gone))}"
    return Finding("warning", onset or chart.images, text, {"missing": float(len(gone))})


def _memorising(chart: Chart) -> Finding | None:
    series = chart.course("closer")
    onset = lasting(series, [value > CLOSE for _, value in series], share=LASTING)
    if onset is None or len(series) < 3:
        return None
    text = (
        f"with chance {series[-1][1]:.2f} a fake lies nearer to a training image than another of those does"
    )
    return Finding("warning", onset, text, {"closer": series[-1][1]})


def _swinging(chart: Chart) -> Finding | None:
    energy = chart.last("energy", over=5) or 0
    half = chart.examined[len(chart.examined) // 2 :]
    alike = (chart.last("diversity", over=len(half)) or 0) < COLLAPSED
    if len(half) < 4 or not _warm(chart) or energy < BAD / 2 or alike:
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


def _undertrained(chart: Chart) -> Finding | None:
    if not chart.examined:
        return None
    energy, frechet = chart.course("energy"), chart.of_cards("frechet")
    figures = {"energy": energy[-1][1]} if energy else {}
    said = []
    if energy:
        said.append(f"fakes lie {energy[-1][1]:.2f} of the distance between reals away")
    if frechet:
        said.append(f"the Fréchet distance has come to {frechet[-1][1]:.3g}")
        figures["frechet"] = frechet[-1][1]
    if _warm(chart) and not _improving(chart):
        return None
    return Finding("note", chart.images, f"{' and '.join(said)}, and it is still falling", figures)


def _improving(chart: Chart) -> bool:
    """Tell whether images are not good yet, and were becoming so when they were last judged."""
    frechet, floor = chart.of_cards("frechet"), chart.of_cards("frechet_floor")
    if len(frechet) < 3 or not floor or frechet[-1][1] < GOOD * floor[-1][1]:
        return False
    return frechet[-1][1] < FALLING * frechet[-3][1]


def _settled(chart: Chart, name: str) -> Series:
    """Follow a figure of those scorecards that the first weights have no part in."""
    return [
        (row["images"], float(row["card"][name]))
        for row in chart.settled
        if row["card"].get(name) is not None
    ]


def _warm(chart: Chart) -> bool:
    """Tell whether the networks have had time to learn anything."""
    return bool(chart.examined) and chart.moments[-1] >= WARM * chart.recipe.data.batch


def _certain(chart: Chart) -> bool:
    return (chart.last("separation", over=3) or 0) > CERTAIN


def _who(side: str) -> str:
    return "discriminator" if side == "d" else "generator"


RULES: dict[Kind, Rule] = {
    "non-finite": _non_finite,
    "wrong-pixel-range": _wrong_range,
    "exploding-gradient": _exploding,
    "learning-rate-too-high": _too_high,
    "learning-rate-too-low": _too_low,
    "saturated-units": _saturated,
    "batchnorm-leak": _leak,
    "vanishing-generator-gradient": _vanishing,
    "penalty-too-strong": _too_strong,
    "penalty-too-weak": _too_weak,
    "latent-ignored": _ignored,
    "dead-units": _dead,
    "oscillation": _swinging,
    "discriminator-overpowers": _overpowers,
    "mode-collapse": _collapsed,
    "missing-classes": _missing,
    "memorising": _memorising,
    "undertrained": _undertrained,
}
