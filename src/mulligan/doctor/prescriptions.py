"""What to change in the recipe at hand.

A prescription is whole: its advice is to be followed together, and leaves a recipe that can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mulligan.doctor.diagnosis import Advice, Kind
from mulligan.recipe import REACH, Adam, Conditioning, Curve, Recipe

GOODFELLOW = "Goodfellow et al. 2014, arXiv 1406.2661, section 3"
MESCHEDER = "Mescheder et al. 2018, arXiv 1801.04406"
R3GAN = "Huang et al. 2024, arXiv 2501.05441"
WGAN_GP = "Gulrajani et al. 2017, arXiv 1704.00028, section 4"
ADAM = "Kingma and Ba 2015, arXiv 1412.6980, section 2.1"
BATCHNORM = "Ioffe and Szegedy 2015, arXiv 1502.03167, section 3"
DCGAN = "Radford et al. 2016, arXiv 1511.06434, section 3"
DIFFAUGMENT = "Zhao et al. 2020, arXiv 2006.10738"
LECUN = "LeCun et al. 1998, Efficient BackProp, section 4.3"
TARGETS = "LeCun et al. 1998, Efficient BackProp, section 4.5"
GLOROT = "Glorot and Bengio 2010, section 3"
SIDES = ("generator", "discriminator")
GENTLE = 1.0  # a slope that no penalty is needed against
ROOM = 0.1  # of the range, at either end
SLOPE = 1.0  # γ of R1 and R2 that suits small images


def prescribe(kind: Kind, recipe: Recipe, figures: dict[str, float]) -> tuple[Advice, ...]:
    """Return what to change; empty where the cure does not lie in the recipe and nothing can be said.

    Args:
        kind: What is wrong.
        recipe: With which recipe.
        figures: The verdict's evidence.
    """
    return tuple(PRESCRIPTIONS[kind](recipe, figures))


def _number(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 1e5 else f"{value:.0f}"


def _scaled(rate: float | Curve, factor: float) -> str:
    """Write a rate, or a curve of it, times a factor as TOML."""
    if not isinstance(rate, Curve):
        return _number(rate * factor)
    values = ", ".join(_number(value * factor) for value in rate.values)
    return f'{{images = {list(rate.images)}, values = [{values}], shape = "{rate.shape}"}}'


def _rates(recipe: Recipe, factors: dict[str, float], why: str, source: str) -> Iterator[Advice]:
    for side, factor in factors.items():
        adam: Adam = getattr(recipe.optimizer, side)
        yield Advice(f"optimizer.{side}.lr={_scaled(adam.lr, factor)}", why, source)


def fastest(rate: float | Curve) -> float:
    """Return the most that a number or a curve comes to."""
    return max(rate.values) if isinstance(rate, Curve) else rate


def _rate(recipe: Recipe, side: str) -> float:
    """Return the highest rate of one network, generator or discriminator."""
    adam: Adam = getattr(recipe.optimizer, side)
    return fastest(adam.lr)


def _slower(recipe: Recipe, why: str) -> Iterator[Advice]:
    """Slow both networks down where a penalty that is right already has not helped."""
    yield from _rates(recipe, dict.fromkeys(SIDES, 0.3), why, f"{MESCHEDER}; {R3GAN}")


def _lack(recipe: Recipe) -> float:
    """Return what takes the strongest penalty to the weight that its kind usually has."""
    usual = SLOPE if {"r1", "r2"} & recipe.penalty.used.keys() else 10.0
    return usual / max(map(fastest, recipe.penalty.used.values()))


def _held(recipe: Recipe) -> Iterator[Advice]:
    """Hold D back by R1 and R2, which want a D without BatchNorm."""
    if recipe.discriminator.normalised:
        yield Advice(
            "discriminator.norm=none", "the penalty is of one image's slope, which BatchNorm mixes", WGAN_GP
        )
    if recipe.constraint.clip:
        yield Advice(
            "constraint.clip=0", "clipping weights makes a poor bound; a penalty replaces it", WGAN_GP
        )
    why = "a discriminator whose slope is bounded at the reals and the fakes keeps showing a way"
    if {"r1", "r2"} <= recipe.penalty.used.keys():
        if _lack(recipe) * recipe.objective.d_scale > 1:
            yield from _weights(recipe, 3, why, f"{MESCHEDER}; {R3GAN}")
        else:
            yield from _slower(
                recipe, "D is held back as it should be already; smaller steps let both networks keep up"
            )
        return
    weight = SLOPE * recipe.objective.d_scale
    for name in ("r1", "r2"):
        yield Advice(f"penalty.{name}={_number(weight)}", why, f"{MESCHEDER}; {R3GAN}")


def _pairs(recipe: Recipe) -> Iterator[Advice]:
    """Compare each fake with a real, which alone sees to it that no mode is left out."""
    if recipe.objective.kind != "relativistic-paired":
        why = (
            "D then judges a fake beside a real: where every mode is present no fake can win by being typical"
        )
        yield Advice("objective.kind=relativistic-paired", why, R3GAN)
        if recipe.objective.smoothed:
            yield Advice("objective.real_label=1.0", "smoothed labels mean nothing to pairs", R3GAN)
            yield Advice("objective.fake_label=0.0", "likewise", R3GAN)
        if recipe.log.losses == "fresh":
            yield Advice("log.losses=training", "pairs have no probability to print", R3GAN)
        if recipe.stop.kind == "d-of-fake":
            yield Advice('stop={kind="none"}', "pairs have no D(G(z)) to stop by", R3GAN)
    yield from _held(recipe)


def _non_finite(recipe: Recipe, figures: dict[str, float]) -> Iterator[Advice]:
    if _unbounded(recipe):
        yield from _exploding(recipe, figures)
        return
    highest = max(_rate(recipe, side) for side in SIDES)
    factor = min(0.1, 1e-3 / highest)
    tiny = [side for side in SIDES if getattr(recipe.optimizer, side).eps < 1e-12]
    for side in tiny:
        why = "Adam divides by the root of a mean square, which may be 0, plus eps"
        yield Advice(f"optimizer.{side}.eps=1e-8", why, ADAM)
    if tiny:
        return
    why = "smaller updates keep weights and gradients in range"
    yield from _rates(recipe, dict.fromkeys(SIDES, factor), why, ADAM)


def _unbounded(recipe: Recipe) -> bool:
    bounded = recipe.penalty.used or recipe.constraint.clip or recipe.discriminator.spectral_norm
    return recipe.objective.kind == "wasserstein" and not bounded


def _exploding(recipe: Recipe, _figures: dict[str, float]) -> Iterator[Advice]:
    if _unbounded(recipe):
        if recipe.discriminator.normalised:
            yield Advice("discriminator.norm=none", "the penalty is of one image's slope", WGAN_GP)
        yield Advice("penalty.gradient_penalty=10", "a Wasserstein critic must be kept Lipschitz", WGAN_GP)
        return
    why = "smaller updates of the network whose gradients grow"
    yield from _rates(recipe, dict.fromkeys(SIDES, 0.2), why, ADAM)
    if not recipe.penalty.used and not recipe.discriminator.spectral_norm:
        yield from _held(recipe)


def _too_high(recipe: Recipe, figures: dict[str, float]) -> Iterator[Advice]:
    why = "updates of about a hundredth of a weight and less are what learns"
    factors = {}
    for side in SIDES:
        share, rate = figures.get(f"{side[0]}_update", 0.0), _rate(recipe, side)
        if share > 0.02 or f"{side[0]}_growth" in figures or rate > 5e-3:
            factors[side] = min(0.1, 1e-3 / rate)
    yield from _rates(recipe, factors or dict.fromkeys(SIDES, 0.1), why, ADAM)


def _too_low(recipe: Recipe, figures: dict[str, float]) -> Iterator[Advice]:
    why = "updates of about a thousandth of a weight and more are what learns"
    factors = {}
    for side in SIDES:
        if f"{side[0]}_update" in figures:
            factors[side] = max(10.0, 5e-4 / _rate(recipe, side))
    yield from _rates(recipe, factors or dict.fromkeys(SIDES, 10), why, ADAM)


def _recentred(recipe: Recipe) -> Iterator[Advice]:
    latent = recipe.latent
    if latent.law == "uniform" and abs(latent.low + latent.high) > 0.5 * (latent.high - latent.low):
        why = "latents that share a mean push every unit the same way; let them lie around 0"
        for name, value in (("low", -1.0), ("high", 1.0)):
            if getattr(latent, name) != value:
                yield Advice(f"latent.{name}={value}", why, LECUN)


def _saturated(recipe: Recipe, figures: dict[str, float]) -> Iterator[Advice]:
    if "fake_edge" in figures:
        yield from _room(recipe)
        return
    flat = {side: figures.get(f"{side[0]}_saturated", 0) for side in SIDES}
    yield from _livened(recipe, flat, "tanh", "it has no flat ends", f"{GLOROT}; {DCGAN}")


def _dead(recipe: Recipe, figures: dict[str, float]) -> Iterator[Advice]:
    silent = {side: figures.get(f"{side[0]}_dead", 0) for side in SIDES}
    yield from _livened(recipe, silent, "relu", "a leaky unit always has a slope", DCGAN)


def _livened(
    recipe: Recipe, shares: dict[str, float], activation: str, why: str, source: str
) -> Iterator[Advice]:
    """Give units that are ill latents around 0, or, where those lie there already, another activation."""
    if moved := list(_recentred(recipe)):
        yield from moved
        return
    for side, share in shares.items():
        if share > 0.3 and getattr(recipe, side).activation == activation:
            yield Advice(f"{side}.activation=leaky-relu", why, source)


def _leak(recipe: Recipe, figures: dict[str, float]) -> Iterator[Advice]:
    if recipe.data.batch < 32:
        near = max(1, round(64 / recipe.step.pack)) * recipe.step.pack
        yield Advice(f"data.batch={near}", "the mean of so many images says little of any one", BATCHNORM)
        return
    for side, name in (("generator", "batch_effect"), ("discriminator", "d_batch_effect")):
        if getattr(recipe, side).normalised and figures.get(name, 0) > 0.1:
            yield Advice(f"{side}.norm=none", "without BatchNorm an image is judged alone", R3GAN)


def _pixels(recipe: Recipe, figures: dict[str, float]) -> Iterator[Advice]:
    low, high = recipe.data.pixels
    reach = REACH.get(recipe.generator.output, (low, high))
    if high - low < 0.75 * (reach[1] - reach[0]):
        why = f"a generator that ends in {recipe.generator.output} paints from {reach[0]:g} to {reach[1]:g}"
        yield Advice(f"data.pixels=[{reach[0]}, {reach[1]}]", why, DCGAN)
        return
    found = (
        (figures["real_low"] - low) / (high - low) * 255,
        (figures["real_high"] - low) / (high - low) * 255,
    )
    why = (
        f"the images themselves hold only the values {found[0]:.0f} to {found[1]:.0f} of 0 to 255: write "
        "them again over the whole range; were they divided by 255 before they were cast?"
    )
    yield Advice("", why, "docs/data.md")


def _room(recipe: Recipe) -> Iterator[Advice]:
    """Move black and white away from the ends of what the generator can paint."""
    low, high = REACH[recipe.generator.output]
    spare = ROOM * (high - low)
    why = f"a {recipe.generator.output} that has gone beyond black or white has a slope to come back by then"
    yield Advice(f"data.pixels=[{round(low + spare, 6)}, {round(high - spare, 6)}]", why, TARGETS)


def _weights(recipe: Recipe, factor: float, why: str, source: str) -> Iterator[Advice]:
    for name, weight in recipe.penalty.used.items():
        yield Advice(f"penalty.{name}={_scaled(weight, factor)}", why, source)


def _too_strong(recipe: Recipe, _figures: dict[str, float]) -> Iterator[Advice]:
    why = "a weaker penalty lets the discriminator tell more from less real"
    yield from _weights(recipe, min(0.1, _lack(recipe)), why, MESCHEDER)


def _too_weak(recipe: Recipe, figures: dict[str, float]) -> Iterator[Advice]:
    if figures.get("slope", GENTLE) < GENTLE and _lack(recipe) <= 1:
        why = "D is sure without being steep, so that no penalty will help; smaller steps let G keep up"
        yield from _slower(recipe, why)
        return
    why = "a stronger penalty keeps the discriminator's slope bounded"
    yield from _weights(recipe, max(10.0, _lack(recipe)), why, f"{MESCHEDER}; {WGAN_GP}")


def _vanishing(recipe: Recipe, _figures: dict[str, float]) -> Iterator[Advice]:
    if recipe.objective.kind == "minimax":
        why = "−log D(G(z)) is steep exactly where log(1 − D(G(z))) is flat"
        yield Advice("objective.kind=non-saturating", why, GOODFELLOW)
        return
    yield from _held(recipe)


def _overpowered(recipe: Recipe, _figures: dict[str, float]) -> Iterator[Advice]:
    if recipe.step.d_steps > 1 and recipe.objective.kind != "wasserstein":
        yield Advice("step.d_steps=1", "fewer of D's updates for each of G's", GOODFELLOW)
    slow, fast = (_rate(recipe, side) for side in SIDES)
    if fast > 2 * slow:
        why = "neither network should learn much faster than the other"
        yield from _rates(recipe, {"discriminator": slow / fast}, why, DCGAN)
    yield from _held(recipe)


def _ignored(recipe: Recipe, _figures: dict[str, float]) -> Iterator[Advice]:
    latent = recipe.latent
    if moved := list(_recentred(recipe)):
        yield from moved
        return
    if latent.law == "uniform" and latent.high - latent.low < 0.5:
        why = "latents that hardly differ cannot give images that do"
        yield Advice("latent.low=-1.0", why, DCGAN)
        yield Advice("latent.high=1.0", why, DCGAN)
        return
    yield from _pairs(recipe)


def _collapsed(recipe: Recipe, _figures: dict[str, float]) -> Iterator[Advice]:
    fast, slow = (_rate(recipe, side) for side in SIDES)
    if fast > 2 * slow:
        why = "a generator that outruns its discriminator need not be diverse"
        yield from _rates(recipe, {"generator": slow / fast}, why, "Heusel et al. 2017, arXiv 1706.08500")
    yield from _pairs(recipe)


def _memorising(recipe: Recipe, _figures: dict[str, float]) -> Iterator[Advice]:
    if not recipe.augment.policy and recipe.generator.output != "linear":
        why = "D never sees the same image twice; more images are better still"
        yield Advice('augment.policy=["translation", "cutout"]', why, DIFFAUGMENT)
    elif recipe.condition.clusters and recipe.condition.smallest < (usual := Conditioning().smallest):
        yield Advice(
            f"condition.smallest={usual}", "a group of so few images is learnt by heart", "docs/recipes.md"
        )
    else:
        yield Advice("", "more training images; nothing else teaches what is not there", DIFFAUGMENT)


def _swinging(recipe: Recipe, _figures: dict[str, float]) -> Iterator[Advice]:
    why = "momentum carries both networks past the point where they would meet"
    for side in SIDES:
        adam: Adam = getattr(recipe.optimizer, side)
        if adam.beta1 > 0:
            yield Advice(f"optimizer.{side}.beta1=0.0", why, "Gidel et al. 2019, arXiv 1807.04740")
    yield from _held(recipe)
    fast = max(_rate(recipe, side) for side in SIDES)
    if fast > 2e-3:
        why = "smaller steps around the point where they meet"
        yield from _rates(recipe, dict.fromkeys(SIDES, 1e-3 / fast), why, MESCHEDER)


def _undertrained(recipe: Recipe, figures: dict[str, float]) -> Iterator[Advice]:
    seen, budget = int(figures["images"]), recipe.budget.images
    why = f"`mulligan resume` with `--images {max(4 * seen, budget)}` goes on where it ended"
    if seen < budget and recipe.budget.steps is None and recipe.stop.kind == "none":
        why = f"`mulligan resume` goes on where it ended, to its budget of {budget:,} images"
    yield Advice("", why, "docs/recipes.md")


PRESCRIPTIONS: dict[Kind, Callable[[Recipe, dict[str, float]], Iterator[Advice]]] = {
    "non-finite": _non_finite,
    "wrong-pixel-range": _pixels,
    "exploding-gradient": _exploding,
    "learning-rate-too-high": _too_high,
    "saturated-units": _saturated,
    "dead-units": _dead,
    "batchnorm-leak": _leak,
    "penalty-too-strong": _too_strong,
    "penalty-too-weak": _too_weak,
    "vanishing-generator-gradient": _vanishing,
    "discriminator-overpowers": _overpowered,
    "latent-ignored": _ignored,
    "mode-collapse": _collapsed,
    "missing-classes": lambda recipe, _figures: _pairs(recipe),
    "memorising": _memorising,
    "oscillation": _swinging,
    "learning-rate-too-low": _too_low,
    "undertrained": _undertrained,
}
