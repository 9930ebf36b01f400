"""Every axis of a recipe, and all of them together: what validates trains, what does not says why."""

from __future__ import annotations

import inspect
import itertools
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import softplus

import mulligan
from mulligan import augment, build, checkpoint, constraints, recipe, sampler, state
from mulligan.checkpoint import Checkpoint
from mulligan.data import Dataset
from mulligan.errors import UserError
from mulligan.recipe import Recipe
from mulligan.state import State
from mulligan.step import GAN, Knobs, discriminator_turn, generator_turn
from support import command, same

MLPS: dict[str, Any] = {
    "name": "test",
    "generator": {"kind": "mlp", "hidden": [5], "activation": "tanh"},
    "discriminator": {"kind": "mlp", "hidden": [6], "activation": "tanh"},
    "latent": {"size": 3},
    "data": {"batch": 6},
}


def a_recipe(**tables: Any) -> Recipe:
    """Two small perceptrons, and whatever else is said, laid over them."""
    return recipe.from_dict(recipe.merge(MLPS, tables))


def images(n: int, channels: int = 1, side: int = 4, classes: int = 0, seed: int = 0) -> Dataset:
    """Noise; the corner pixel of an image, where there are classes, says which it is of."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, channels, side, side), dtype=np.uint8)
    labels = None
    if classes:
        labels = rng.integers(0, classes, n)
        pixels[:, 0, 0, 0] = labels
    return Dataset("noise", pixels, labels, tuple(map(str, range(classes))))


def points(n: int) -> Dataset:
    """In a plane: what only perceptrons are for."""
    xy = np.random.default_rng(0).standard_normal((n, 2, 1, 1)).astype(np.float32)
    return Dataset("points", xy, np.arange(n) % 2, ("a", "b"))  # type: ignore[arg-type]  # floats, not pixels


# All axes at once --------------------------------------------------------------------------------

OBJECTIVES = tuple(build.OBJECTIVES)
PENALTIES = tuple(build.PENALTIES)
KINDS = tuple(build.GENERATORS)
SIDES = ("generator", "discriminator")
POLICIES = ("color", "brightness", "saturation", "contrast", "translation", "cutout", "affine")
INITS = ("he-normal", "inverse-fan-in", "glorot-uniform", "dcgan", "torch")
ACTIVATIONS = ("relu", "leaky-relu", "tanh")
RANGES = ([-1.0, 1.0], [0.0, 1.0], [-0.5, 0.5], [-3.0, 3.0])


def mostly(usual: Any, *others: Any) -> list[Any]:
    """As often the usual as all others together."""
    return [*[usual] * max(3, len(others)), *others]


def rarely(rng: Random) -> bool:
    """Whether to draw what will most likely be refused."""
    return rng.random() < 0.08


def curve_or(number: float, low: float, high: float) -> list[Any]:
    shape = {"images": [0, 12], "values": [low, high]}
    return [number, number, shape, {**shape, "shape": "cosine"}]


@dataclass(frozen=True)
class Case:
    """A recipe as a table, and what it is to be trained on."""

    table: dict[str, Any]
    shape: tuple[int, int, int]
    n: int
    classes: int

    def __getitem__(self, path: str) -> Any:
        found: Any = self.table
        for part in path.split("."):
            found = found[part]
        return found

    def dataset(self) -> Dataset:
        if self.shape == (2, 1, 1):
            return points(self.n)
        channels, side, _ = self.shape
        return images(self.n, channels, side, self.classes)

    def axes(self) -> Iterator[tuple[str, str]]:
        """What this case is of, axis by axis."""
        for side in ("generator", "discriminator"):
            for key in ("kind", "activation", "init", "norm", "resample", "output", "spectral_norm"):
                value = self[side].get(key)
                if value is not None:
                    yield f"{side}.{key}", str(value)
        for path in (
            "objective.kind", "objective.real_label", "objective.fake_label", "objective.d_scale",
            "data.order", "data.last", "data.pixels", "latent.law", "step.order", "step.noise",
            "step.d_steps", "step.pack", "condition.kind", "constraint.clip", "ema.half_life",
        ):  # fmt: skip
            yield path, str(self[path])
        for path in ("augment.noise", "optimizer.generator.lr", "optimizer.discriminator.beta2"):
            yield path, "curve" if isinstance(self[path], dict) else "number"
        for name, weight in self["penalty"].items():
            yield "penalty", name
            yield "penalty.*", "curve" if isinstance(weight, dict) else "number"
        for policy in self["augment.policy"]:
            yield "augment.policy", policy
        yield "channels", str(self.shape[0])
        yield "side", str(self.shape[1])


def networks(rng: Random, side: str, kinds: Sequence[str] = KINDS) -> dict[str, Any]:
    kind = rng.choice(kinds)
    table: dict[str, Any] = {
        "kind": kind,
        "activation": rng.choice(ACTIVATIONS),
        "init": rng.choice(INITS),
    }
    norm = mostly("none", "batch") if side == "discriminator" else ["none", "batch"]
    if kind == "mlp":
        table |= {"hidden": [8, 6], "norm": rng.choice([*norm, ["none", "none"]])}
    elif kind == "tutorial-dcgan":
        table |= {"channels": [4, 3]} | ({"dense": 6} if side == "discriminator" else {})
    else:
        table |= {"width": 4, "max_width": 6, "norm": rng.choice(norm)}
    if kind == "resnet":
        table["resample"] = rng.choice(["nearest", "bilinear"])
    if side == "generator":
        table["output"] = rng.choice(["sigmoid", "tanh", "tanh", "tanh"])
    else:
        table["spectral_norm"] = rng.choice(mostly(False, True))
    return table


def drawn(seed: int) -> Case:
    """Any value of any axis, beside any other; the usual ones more often, so that many are valid."""
    rng = Random(seed)
    weight = curve_or(2.0, 0.0, 3.0)
    generator, discriminator = networks(rng, "generator"), networks(rng, "discriminator")
    kind = rng.choice(OBJECTIVES)
    probable = kind in ("non-saturating", "minimax", "softmax")
    smoothed = kind in ("non-saturating", "minimax") or rarely(rng)
    penalised = "batch" not in discriminator.get("norm", "none") or rarely(rng)
    pack = rng.choice(mostly(1, 2, 3))
    alone = pack == 1 or rarely(rng)
    measured = (alone and probable) or rarely(rng)
    clipped = not discriminator["spectral_norm"] or rarely(rng)
    reach = {"sigmoid": RANGES[1:2], "tanh": RANGES[:3]}[generator["output"]]
    table: dict[str, Any] = {
        "name": "drawn",
        "generator": generator,
        "discriminator": discriminator,
        "objective": {
            "kind": kind,
            "real_label": rng.choice([1.0, 0.9]) if smoothed else 1.0,
            "fake_label": rng.choice([0.0, 0.1]) if smoothed else 0.0,
            "d_scale": rng.choice([1.0, 0.5]),
        },
        "penalty": {
            name: rng.choice(weight)
            for name in rng.choice(mostly([], *itertools.combinations(PENALTIES, 2)))
            if penalised
        },
        "constraint": {"clip": rng.choice(mostly(0.0, 0.05)) if clipped else 0.0},
        "augment": {
            "policy": rng.choices(POLICIES, k=rng.randrange(4)),
            "noise": rng.choice(curve_or(0.0, 0.3, 0.1)),
        },
        "step": {
            "order": rng.choice(tuple(build.ORDERS)),
            "noise": rng.choice(["shared", "fresh"]),
            "d_steps": rng.choice(mostly(1, 2)),
            "pack": pack,
        },
        "condition": {"kind": rng.choice(mostly("none", "concat", "projection")) if alone else "none"},
        "latent": {"size": 5, "law": rng.choice(["normal", "uniform"]), "low": -2.0, "high": 0.5},
        "data": {
            "batch": rng.choice([6, 6, 6, 6, 4, 2]),
            "order": rng.choice(["epoch", "replacement"]),
            "last": rng.choice(mostly("carry", "short")) if alone else "carry",
            "pixels": rng.choice(RANGES if rarely(rng) else reach),
        },
        "optimizer": {
            side: {
                "lr": rng.choice(curve_or(1e-3, 2e-3, 1e-4)),
                "beta2": rng.choice(curve_or(0.99, 0.9, 0.999)),
            }
            for side in SIDES
        },
        "ema": {"half_life": rng.choice([0, 10])},
        "stop": {"kind": rng.choice(mostly("none", "d-of-fake")) if measured else "none"},
        "log": {"losses": rng.choice(mostly("training", "fresh")) if measured else "training"},
    }
    shape = rng.choice(mostly((1, 28, 28), (3, 16, 16), (1, 32, 32), (3, 20, 20), (1, 16, 16)))
    if {generator["kind"], discriminator["kind"]} == {"mlp"} or rarely(rng):
        shape = rng.choice([shape, (3, 30, 30), (3, 30, 30)])  # a side that cannot be halved twice
    if rng.random() < 0.1:  # points in a plane, for which only perceptrons are
        shape = (2, 1, 1)
        table |= {side: networks(rng, side, ["mlp"]) for side in SIDES}
        table["generator"]["output"] = "tanh" if rarely(rng) else "linear"
        table["augment"]["policy"] = ["color"] if rarely(rng) else []
    elif rarely(rng):
        table["generator"]["output"] = "linear"
    classes = 3 if not rarely(rng) else 0
    return Case(table, shape, n=5 if rarely(rng) else rng.choice([13, 18]), classes=classes)


def faults_of_recipe(case: Case) -> set[str]:
    """Everything that contradicts itself whatever the data, as keys one of which must be named."""
    kind, d, pack = case["objective.kind"], case["discriminator"], case["step.pack"]
    probable = kind in ("non-saturating", "minimax", "softmax")
    low, high = case["data.pixels"]
    reach = {"sigmoid": (0, 1), "tanh": (-1, 1), "linear": (-math.inf, math.inf)}[case["generator.output"]]
    smoothed = case["objective.real_label"] < 1 or case["objective.fake_label"] > 0
    fresh, stops = case["log.losses"] == "fresh", case["stop.kind"] == "d-of-fake"
    rules = {
        "data.pixels": low < reach[0] or high > reach[1],
        "real_label": smoothed and kind not in ("non-saturating", "minimax"),
        "condition.kind": case["condition.kind"] == "projection" and kind == "softmax",
        "stop.kind": stops and (not probable or pack > 1),
        "log.losses": fresh and (not probable or pack > 1),
        "data.batch": case["data.batch"] % pack != 0,
        "data.last": pack > 1 and case["data.last"] == "short",
        "step.pack": pack > 1 and case["condition.kind"] != "none",
        "penalty.": bool(case["penalty"]) and "batch" in d.get("norm", "none"),
        "constraint.clip": case["constraint.clip"] > 0 and d["spectral_norm"],
        "augment.policy": case["generator.output"] == "linear" and bool(case["augment.policy"]),
    }
    return {key for key, holds in rules.items() if holds}


def faults_of_data(case: Case) -> set[str]:
    """What this data cannot be used for, likewise."""
    _, side, _ = case.shape
    batch, pack = case["data.batch"], case["step.pack"]
    short = (case["data.order"], case["data.last"]) == ("epoch", "short")
    normed = any("batch" in case[network].get("norm", "none") for network in SIDES)
    makes_points = case["generator.output"] == "linear"
    kinds = {case[network]["kind"] for network in SIDES}
    suits = {"mlp": True, "tutorial-dcgan": side % 4 == 0, "dcgan": side != 30, "resnet": side != 30}
    rules = {
        "generator.output": makes_points != (side == 1),
        "kind": not all(suits[kind] for kind in kinds),
        "condition.kind": case["condition.kind"] != "none" and not case.classes and side > 1,
        "data.batch": case.n < batch or (normed and (batch // pack == 1 or (short and case.n % batch == 1))),
    }
    return {key for key, holds in rules.items() if holds}


def complaint(error: UserError, keys: set[str]) -> None:
    message = str(error)
    assert "\n" not in message
    assert any(key in message for key in keys), f"{message!r} names none of {keys}"


def weights(network: nn.Module) -> Tensor:
    return torch.cat([p.reshape(-1) for p in network.parameters()]).detach().clone()


def trains(case: Case, folder: Path) -> bool:
    """Take two steps, go through a checkpoint, take a third on both sides, and sample.

    Returns whether both networks had a gradient; one that had none is one of dead units.
    """
    chosen = recipe.from_dict(case.table)
    assert recipe.from_dict(recipe.merge({}, chosen.model_dump(mode="json", exclude_none=True))) == chosen
    run = state.begin(chosen, case.dataset(), seed=1)
    before = [weights(network) for network in (run.gan.generator, run.gan.discriminator)]
    slopes = torch.zeros(2)
    for _ in range(2):
        update = run.advance()
        assert bool(update.d.loss.isfinite())
        assert bool(update.g.loss.isfinite())
        turns = (update.g, update.d)
        slopes += torch.tensor([max(float(x.abs().max()) for x in turn.gradients) for turn in turns])
    after = [weights(network) for network in (run.gan.generator, run.gan.discriminator)]
    assert bool(slopes.isfinite().all())
    for old, new, slope in zip(before, after, slopes, strict=True):
        assert slope == 0 or not torch.equal(old, new)

    path = checkpoint.write(folder, run.tensors(), run.meta())
    saved = checkpoint.read(path)
    again = state.begin(recipe.from_dict(saved.meta.recipe), case.dataset(), seed=saved.meta.seed)
    again.restore(saved)
    assert same(again.tensors(), run.tensors())
    for one in (run, again):
        one.advance()
    assert same(again.tensors(), run.tensors())

    drawn = run.sampler().sample(3, seed=2)
    assert drawn.shape == (3, *case.shape)
    assert drawn.dtype == (np.float32 if case.shape == (2, 1, 1) else np.uint8)
    assert np.isfinite(drawn).all()
    assert (again.sampler().sample(3, seed=2) == drawn).all()
    return bool((slopes > 0).all())


def test_every_combination_trains_or_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sampler, "CHUNK", 8)  # what is sampled is not what is tried here
    monkeypatch.setattr(sampler, "RECALIBRATION_CHUNKS", 2)
    seen: Counter[tuple[str, str]] = Counter()
    ends: Counter[str] = Counter()

    @settings(max_examples=250, suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 2**64 - 1))
    def attempt(seed: int) -> None:
        case = drawn(seed)  # not piece by piece by Hypothesis, which likes to repeat itself
        note(repr(case))
        try:
            chosen = recipe.from_dict(case.table, "drawn")
        except UserError as error:
            complaint(error, faults_of_recipe(case))
            ends["refused by the recipe"] += 1
            return
        assert not faults_of_recipe(case), "a contradiction that the recipe did not see"
        faults = faults_of_data(case)
        if faults:
            with pytest.raises(UserError) as refusal:
                state.begin(chosen, case.dataset())
            complaint(refusal.value, faults)
            ends["refused for the data"] += 1
            return
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            ends["trained" if trains(case, Path(folder)) else "trained, but for dead units"] += 1
        seen.update(case.axes())
        event("trained")

    attempt()
    total = sum(ends.values())
    assert total >= 240
    assert ends["trained"] > 0.4 * total, ends
    assert ends["trained, but for dead units"] < 0.05 * total, ends
    assert min(ends["refused by the recipe"], ends["refused for the data"]) > 0.02 * total, ends
    never = [(axis, value) for axis, values in AXES.items() for value in values if not seen[axis, value]]
    assert not never, f"drawn, but in no case that trains: {never}"


AXES: dict[str, Sequence[str]] = {
    "generator.kind": KINDS,
    "discriminator.kind": KINDS,
    "generator.activation": ACTIVATIONS,
    "discriminator.activation": ACTIVATIONS,
    "generator.init": INITS,
    "discriminator.init": INITS,
    "generator.norm": ("none", "batch"),
    "discriminator.norm": ("none", "batch"),
    "generator.resample": ("nearest", "bilinear"),
    "discriminator.resample": ("nearest", "bilinear"),
    "generator.output": ("sigmoid", "tanh", "linear"),
    "discriminator.spectral_norm": ("False", "True"),
    "objective.kind": OBJECTIVES,
    "objective.real_label": ("1.0", "0.9"),
    "objective.fake_label": ("0.0", "0.1"),
    "objective.d_scale": ("1.0", "0.5"),
    "penalty": PENALTIES,
    "penalty.*": ("number", "curve"),
    "constraint.clip": ("0.0", "0.05"),
    "augment.policy": POLICIES,
    "augment.noise": ("number", "curve"),
    "data.order": ("epoch", "replacement"),
    "data.last": ("carry", "short"),
    "data.pixels": [str(pixels) for pixels in RANGES[:3]],
    "latent.law": ("normal", "uniform"),
    "step.order": tuple(build.ORDERS),
    "step.noise": ("shared", "fresh"),
    "step.d_steps": ("1", "2"),
    "step.pack": ("1", "2", "3"),
    "condition.kind": ("none", "concat", "projection"),
    "ema.half_life": ("0", "10"),
    "optimizer.generator.lr": ("number", "curve"),
    "optimizer.discriminator.beta2": ("number", "curve"),
    "channels": ("1", "2", "3"),
    "side": ("1", "16", "20", "28", "30", "32"),
}


# What contradicts itself -------------------------------------------------------------------------

R1 = {"r1": 1.0}
CONTRADICTIONS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a projection has one logit to add to": (
        {"condition": {"kind": "projection"}, "objective": {"kind": "softmax"}},
        ("condition.kind 'projection'", "'softmax' has two", "use 'concat'"),
    ),
    "a stop rule without a probability": (
        {"stop": {"kind": "d-of-fake"}, "objective": {"kind": "wasserstein"}},
        ("stop.kind 'd-of-fake'", "objective.kind 'wasserstein' has none", "use 'none'"),
    ),
    "a log without a probability": (
        {"log": {"losses": "fresh"}, "objective": {"kind": "hinge"}},
        ("log.losses 'fresh'", "'hinge'"),
    ),
    "a stop rule that looks at one image of a pack": (
        {"stop": {"kind": "d-of-fake"}, "step": {"pack": 2}},
        ("stop.kind 'd-of-fake'", "step.pack is 2"),
    ),
    "a plateau of cards that are never drawn": (
        {"stop": {"kind": "plateau"}, "card": {"every": 0}},
        ("stop.kind 'plateau'", "card.every is 0", "use 50000"),
    ),
    "a plateau of images where there are points": (
        {"stop": {"kind": "plateau"}, "generator": {"output": "linear"}},
        ("stop.kind 'plateau'", "use 'none' for points"),
    ),
    "a batch that is not made of packs": (
        {"data": {"batch": 64}, "step": {"pack": 3}},
        ("data.batch 64", "packed by 3", "use 63"),
    ),
    "a last batch that is not made of packs": (
        {"data": {"last": "short"}, "step": {"pack": 2}},
        ("data.last 'short'", "use 'carry'"),
    ),
    "classes mixed in a pack": (
        {"condition": {"kind": "concat"}, "step": {"pack": 2}},
        ("step.pack", "use condition.kind 'none'"),
    ),
    "a slope that BatchNorm mixes": (
        {"penalty": R1, "discriminator": {"norm": "batch"}},
        ("penalty.r1", "discriminator.norm 'none'"),
    ),
    "two bounds on D's weights": (
        {"constraint": {"clip": 0.01}, "discriminator": {"spectral_norm": True}},
        ("constraint.clip", "discriminator.spectral_norm", "use one"),
    ),
    "pixels changed in a plane": (
        {"augment": {"policy": ["color"]}, "generator": {"output": "linear"}},
        ("augment.policy", "generator.output is 'linear'"),
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused_with_its_reason(name: str) -> None:
    tables, parts = CONTRADICTIONS[name]
    with pytest.raises(UserError) as refusal:
        a_recipe(**tables)
    message = str(refusal.value)
    assert message.startswith("recipe: ")
    assert "\n" not in message
    assert all(part in message for part in parts), message
    for table in tables:  # either half alone is no contradiction
        a_recipe(**{key: value for key, value in tables.items() if key != table})


def test_every_contradiction_has_a_row_above() -> None:
    assert inspect.getsource(Recipe._contradictions).count("yield ") == len(CONTRADICTIONS)


def test_what_only_the_data_can_contradict() -> None:
    linear = {"output": "linear"}
    of_images: list[tuple[dict[str, Any], Dataset, str]] = [
        ({"generator": linear}, images(64), "generator.output 'linear' is for points, noise is of images"),
        (
            {},
            points(64),
            "generator.output 'tanh' paints pixels, points is of points: use the recipe 'points'",
        ),
        (
            {"generator": linear, "discriminator": {"kind": "resnet"}},
            points(64),
            "discriminator.kind 'resnet' wants images, points is of points: use the recipe 'points'",
        ),
        ({"condition": {"kind": "concat"}}, images(64), "condition.kind 'concat' needs labels"),
        ({"data": {"batch": 64}}, images(63), "data.batch 64: there are only 63 images: use 63 or less"),
        ({"data": {"batch": 64, "last": "short"}, **BATCHNORM}, images(65), "data.batch 64: .* use 65"),
        ({"data": {"batch": 2, "last": "short"}, **BATCHNORM}, images(7), "data.batch 2: .* use 4"),
        ({"data": {"batch": 1}, **BATCHNORM}, images(1), "data.batch 1: .* use norm 'none'"),
        ({"data": {"batch": 4}, "step": {"pack": 4}, **BATCHNORM}, images(9), "data.batch 4: .* use 8"),
    ]
    for tables, dataset, said in of_images:
        with pytest.raises(UserError, match=said) as refusal:
            state.begin(a_recipe(**tables), dataset)
        assert "\n" not in str(refusal.value)


BATCHNORM = {"generator": {"norm": "batch"}}


def test_networks_too_large_for_any_machine_are_refused_before_they_are_built() -> None:
    """A packed D is as much larger as its packs are."""
    wide = {"discriminator": {"hidden": [16000]}, "data": {"batch": 16}}
    small = a_recipe(discriminator={"hidden": [50]}, data={"batch": 16}, step={"pack": 16})
    assert build.gan(small, (3, 80, 80))
    for side, pack in ((128, 1), (60, 16)):
        with pytest.raises(UserError, match="weights, more than 500,000,000: use smaller widths"):
            build.gan(a_recipe(**wide, step={"pack": pack}), (3, side, side))


# What step and State make of each axis -----------------------------------------------------------


class Fixed:
    """A source of given reals, and of draws that can be told again from its seed."""

    def __init__(self, reals: Tensor, labels: Tensor | None = None, z: int = 3, seed: int = 0) -> None:
        self.x, self.y, self.z = reals, labels, z
        self.rng = torch.Generator().manual_seed(seed)

    def reals(self) -> tuple[Tensor, Tensor | None]:
        return self.x, self.y

    def latents(self, n: int) -> Tensor:
        return self.normal(n, self.z)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.rng, dtype=self.x.dtype)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.rng, dtype=self.x.dtype)


def reals(n: int = 6, channels: int = 1, side: int = 2, seed: int = 7) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, side, side, generator=rng, dtype=torch.float64)


def a_gan(shape: tuple[int, int, int] = (1, 2, 2), classes: int = 0, **tables: Any) -> GAN:
    return build.gan(a_recipe(**tables), shape, classes, seed=3, dtype=torch.float64)


Array = npt.NDArray[np.float64]


def test_a_penalised_loss_is_the_objective_plus_gamma_times_each_penalty() -> None:
    """On paper, in numpy: D(x) = w·tanh(Wx + b) + c, so ∇D = Wᵀ(w ∘ (1 − tanh²(Wx + b)))."""
    gan = a_gan(objective={"d_scale": 0.5}, penalty={"r1": 3.0, "gradient_penalty": 10.0})
    source, x = Fixed(reals()), reals(seed=1)
    turn = discriminator_turn(gan, source.x, x, None, source, Knobs(gammas=(3.0, 10.0)))

    epsilon = Fixed(reals()).uniform(6, 1, 1, 1)
    between = (epsilon * source.x + (1 - epsilon) * x).flatten(1).numpy()
    real, fake = source.x.flatten(1).numpy(), x.flatten(1).numpy()
    flat = weights(gan.discriminator).numpy()
    shapes = [tuple(p.shape) for p in gan.discriminator.parameters()]
    assert shapes == [(6, 4), (6,), (1, 6), (1,)]

    def loss(flat: Array) -> float:
        W, b, w, c = flat[:24].reshape(6, 4), flat[24:30], flat[30:36], flat[36]

        def logit(x: Array) -> Array:
            return np.asarray(np.tanh(x @ W.T + b) @ w + c)

        def slope(x: Array) -> Array:
            return np.asarray(np.linalg.norm(((1 - np.tanh(x @ W.T + b) ** 2) * w) @ W, axis=1))

        objective = 0.5 * (np.log1p(np.exp(-logit(real))).mean() + np.log1p(np.exp(logit(fake))).mean())
        return float(objective + 3 * (slope(real) ** 2 / 2).mean() + 10 * ((slope(between) - 1) ** 2).mean())

    assert float(turn.loss) == pytest.approx(loss(flat), abs=1e-9)  # a slope has 1e-12 under its root
    steps = 1e-6 * np.eye(len(flat))
    differences = np.array([(loss(flat + h) - loss(flat - h)) / 2e-6 for h in steps])
    gradient = torch.cat([g.flatten() for g in turn.gradients]).numpy()
    np.testing.assert_allclose(gradient, differences, atol=1e-7)


def copy_of(run: State, chosen: Recipe, dataset: Dataset) -> State:
    """A run at the same moment under another recipe."""
    other = state.begin(chosen, dataset, seed=run.seed)
    tensors = {name: tensor.clone() for name, tensor in run.tensors().items()}
    other.restore(Checkpoint(Path("copy"), tensors, run.meta()))
    return other


def test_schedules_take_effect_at_their_images() -> None:
    """Each update is that of a recipe whose numbers are what the curves say before it."""
    ramp = {"images": [8, 16]}
    curves: dict[str, dict[str, Any]] = {
        "penalty.r1": {**ramp, "values": [4.0, 1.0]},
        "augment.noise": {**ramp, "values": [0.5, 0.1], "shape": "cosine"},
        "optimizer.generator.lr": {**ramp, "values": [1e-3, 3e-3]},
        "optimizer.discriminator.lr": {**ramp, "values": [2e-3, 1e-3]},
        "optimizer.generator.beta2": {**ramp, "values": [0.9, 0.99]},
        "optimizer.discriminator.beta2": {**ramp, "values": [0.99, 0.95]},
    }

    def chosen(values: dict[str, Any]) -> Recipe:
        tables: dict[str, Any] = {"data": {"batch": 4}}
        for path, value in values.items():
            for part in reversed(path.split(".")):
                value = {part: value}
            tables = recipe.merge(tables, value)
        return a_recipe(**tables)

    def constants(seen: int) -> dict[str, float]:
        t = min(max((seen - 8) / 8, 0), 1)
        bend = {"linear": t, "cosine": (1 - math.cos(math.pi * t)) / 2}
        return {
            path: c["values"][0] + bend[c.get("shape", "linear")] * (c["values"][1] - c["values"][0])
            for path, c in curves.items()
        }

    dataset = images(12)
    run = state.begin(chosen(curves), dataset)
    for i in range(6):
        assert run.images == 4 * i
        told = copy_of(run, chosen(constants(run.images)), dataset)
        stale = copy_of(run, chosen(constants(run.images - 4)), dataset)
        for each in (run, told, stale):
            each.advance()
        assert same(run.tensors(), told.tensors())
        assert same(run.tensors(), stale.tensors()) == (i < 3 or i > 4)  # the ramp is 8..16
        for optimizer, side in ((run.gan.g_optimizer, "generator"), (run.gan.d_optimizer, "discriminator")):
            (group,) = optimizer.param_groups
            values = constants(4 * i)
            assert group["lr"] == pytest.approx(values[f"optimizer.{side}.lr"])
            assert group["betas"] == pytest.approx((0.5, values[f"optimizer.{side}.beta2"]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_packed_discriminator_sees_pack_times_the_channels(kind: str, channels: int) -> None:
    narrow: dict[str, dict[str, Any]] = {
        "mlp": {"hidden": [4]},
        "tutorial-dcgan": {"channels": [2, 2], "dense": 4},
    }
    table = {"kind": kind, **narrow.get(kind, {"width": 2, "max_width": 4, "norm": "none"})}
    gan = a_gan((channels, 16, 16), discriminator=table, step={"pack": 3})
    packed = reals(2, 3 * channels, 16)
    assert gan.discriminator(packed).shape == (2, 1)
    with pytest.raises(RuntimeError):
        gan.discriminator(reals(2, channels, 16))
    assert gan.generator(torch.randn(2, 3, dtype=torch.float64)).shape == (2, channels, 16, 16)


@pytest.mark.parametrize("order", build.ORDERS)
def test_packing_is_packing_by_hand(order: str) -> None:
    gan = a_gan((2, 2, 2), step={"pack": 3, "order": order, "noise": "fresh"})
    twin = a_gan((2, 2, 2), step={"pack": 3, "order": order, "noise": "fresh"})
    x = reals(6, 2)
    update = gan.step(Fixed(x), Knobs())
    assert update.images == 6  # images, not packs

    source = Fixed(x)
    g, d = twin.generator, twin.discriminator

    def by_hand(images: Tensor) -> Tensor:
        return torch.stack([torch.cat(list(images[i : i + 3])) for i in (0, 3)])

    first, second = (g(source.latents(6)) for _ in range(2))
    d_fake, g_fake = (second, first) if order == "g-then-d" else (first, second)
    if order == "together":
        torch.testing.assert_close(update.g.fake_logits, d(by_hand(g_fake)))
        torch.testing.assert_close(update.g.loss, softplus(-d(by_hand(g_fake))).mean())
    if order != "g-then-d":  # there, G has moved
        assert update.d.real_logits is not None
        torch.testing.assert_close(update.d.real_logits, d(by_hand(x)))
        torch.testing.assert_close(update.d.fake_logits, d(by_hand(d_fake)))
        loss = softplus(-d(by_hand(x))).mean() + softplus(d(by_hand(d_fake))).mean()
        torch.testing.assert_close(update.d.loss, loss)
        expected = torch.autograd.grad(loss, list(d.parameters()))
        assert all(torch.allclose(a, b) for a, b in zip(update.d.gradients, expected, strict=True))
    assert update.g.fake_logits.shape == update.d.fake_logits.shape == (2, 1)


def test_a_penalty_is_of_a_pack() -> None:
    gan = a_gan((1, 2, 2), step={"pack": 3}, penalty={"r1": 2.0})
    x, fake = reals(), reals(seed=1)
    turn = discriminator_turn(gan, x, fake, None, Fixed(x), Knobs(gammas=(2.0,)))
    pack = x.reshape(2, 3, 2, 2).requires_grad_()
    (slope,) = torch.autograd.grad(gan.discriminator(pack).sum(), pack)
    objective = softplus(-turn.real_logits).mean() + softplus(turn.fake_logits).mean()  # type: ignore[operator]
    torch.testing.assert_close(turn.loss, objective + 2 * slope.flatten(1).square().sum(1).mean() / 2)


POLICY = ["brightness", "contrast", "translation", "cutout"]


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_reals_and_fakes_are_augmented_alike_and_g_learns_through_it(noise: float) -> None:
    tables: dict[str, Any] = {
        "augment": {"policy": POLICY},
        "step": {"order": "together"},
        "data": {"pixels": [-0.5, 1.0]},
    }
    gan, twin = a_gan((1, 8, 8), **tables), a_gan((1, 8, 8), **tables)
    x = reals(6, 1, 8)
    update = gan.step(Fixed(x), Knobs(noise=noise))

    source = Fixed(x)

    def seen(images: Tensor) -> Tensor:
        images = augment.augment(images, POLICY, source.uniform, (-0.5, 1.0))
        return images + noise * source.normal(*images.shape) if noise else images

    g, d = twin.generator, twin.discriminator
    fake = g(source.latents(6)).detach()
    real_logits, fake_logits = d(seen(x)), d(seen(fake))
    torch.testing.assert_close(update.d.real_logits, real_logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(update.d.fake_logits, fake_logits, rtol=0, atol=1e-12)
    loss = softplus(-d(seen(g(source.latents(6))))).mean()
    torch.testing.assert_close(update.g.loss, loss, rtol=0, atol=1e-12)
    expected = torch.autograd.grad(loss, list(g.parameters()))
    for ours, theirs in zip(update.g.gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        assert ours.abs().max() > 0


def test_a_relativistic_g_compares_with_augmented_reals() -> None:
    gan = a_gan((1, 8, 8), objective={"kind": "relativistic-paired"}, augment={"policy": POLICY})
    x, fake = reals(6, 1, 8), reals(6, 1, 8, seed=1).requires_grad_()
    with pytest.raises(RuntimeError, match=r"not.*used|unused"):
        generator_turn(gan, x, fake, None, Fixed(x), Knobs())  # these fakes are not G's own
    fake = gan.generator(Fixed(x).latents(6))
    turn = generator_turn(gan, x, fake, None, Fixed(x), Knobs())
    source = Fixed(x)
    draws = [augment.augment(images, POLICY, source.uniform, (-1.0, 1.0)) for images in (fake, x)]
    fake_logits, real_logits = (gan.discriminator(images) for images in draws)
    torch.testing.assert_close(turn.loss, softplus(real_logits - fake_logits).mean())


@pytest.mark.parametrize("order", build.ORDERS)
def test_power_iteration_comes_once_per_update_of_d(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gan = a_gan(
        discriminator={"spectral_norm": True},
        step={"order": order, "d_steps": 3},
        penalty={"r1": 1.0, "dragan": 1.0},
    )
    moved: list[int] = []
    iterated: list[int] = []
    iterate, optimise = constraints.SpectralNorm.iterate, gan.d_optimizer.step

    def count(rule: constraints.SpectralNorm, weight: Tensor) -> None:
        iterated.append(len(moved))
        iterate(rule, weight)

    def step(*_: Any, **__: Any) -> None:
        moved.append(len(moved))
        optimise()

    monkeypatch.setattr(constraints.SpectralNorm, "iterate", count)
    monkeypatch.setattr(gan.d_optimizer, "step", step)
    buffers = {name: buffer.clone() for name, buffer in gan.discriminator.named_buffers()}
    assert len(buffers) == 2 * 2  # u and v of the hidden layer and of the head
    source = Fixed(reals())
    discriminator_turn(gan, source.x, reals(seed=1), None, source, Knobs(gammas=(1.0, 1.0)))
    generator_turn(gan, source.x, gan.generator(source.latents(6)), None, source, Knobs())
    assert iterated == []
    assert same(buffers, dict(gan.discriminator.named_buffers()))
    gan.step(source, Knobs(gammas=(1.0, 1.0)))
    assert iterated == [1, 1, 2, 2, 3, 3]  # both layers, after each move


@pytest.mark.parametrize("order", build.ORDERS)
def test_weights_are_clipped_whenever_d_is_asked(order: str) -> None:
    bound = 0.02
    gan = a_gan(
        objective={"kind": "wasserstein"},
        constraint={"clip": bound},
        step={"order": order, "d_steps": 3},
        optimizer={"discriminator": {"lr": 1.0}},
    )
    gan = replace(gan, joined=False)  # so that D is asked once for each kind of image
    largest: list[float] = []

    def measure(*_: object) -> None:
        largest.append(max(float(p.detach().abs().max()) for p in gan.discriminator.parameters()))

    gan.discriminator.register_forward_pre_hook(measure)
    source = Fixed(reals())
    gan.step(source, Knobs())
    at_first = {"d-then-g": 2, "g-then-d": 3, "together": 2}[order]  # asked before it ever moved
    assert len(largest) == 7
    assert all(value > bound for value in largest[:at_first])
    assert all(value == pytest.approx(bound) for value in largest[at_first:])
    measure()
    assert largest[-1] == pytest.approx(bound)


SLOPES = [{}, {"r1": 2.0, "r2": 3.0}, {"gradient_penalty": 1.0}]


@pytest.mark.parametrize("condition", ["none", "concat", "projection"])
@pytest.mark.parametrize("penalty", SLOPES, ids=["none", "r1 r2", "gp"])
@pytest.mark.parametrize("order", ["d-then-g", "g-then-d"])
def test_one_pass_over_reals_and_fakes_is_worth_two(
    order: str, penalty: dict[str, float], condition: str
) -> None:
    chosen = a_recipe(
        condition={"kind": condition}, step={"order": order}, penalty=penalty, data={"batch": 5}
    )
    runs = [state.begin(chosen, images(23, classes=CLASSES), dtype=torch.float64) for _ in range(2)]
    assert runs[0].gan.joined
    runs[1].gan = replace(runs[1].gan, joined=False)
    for _ in range(5):
        one, two = (run.advance() for run in runs)
        for ours, theirs in zip((one.d, one.g), (two.d, two.g), strict=True):
            torch.testing.assert_close(list(ours.gradients), list(theirs.gradients), rtol=0, atol=1e-12)
            torch.testing.assert_close(ours.loss, theirs.loss, rtol=0, atol=1e-12)
    assert not build.gan(a_recipe(penalty={"r1": 1.0}), (1, 2, 2)).joined  # it would cost a slope too many


# Labels ------------------------------------------------------------------------------------------

CLASSES = 7


@pytest.mark.parametrize("kind", ["concat", "projection"])
@pytest.mark.parametrize("order", build.ORDERS)
@pytest.mark.parametrize("noise", ["shared", "fresh"])
def test_labels_reach_both_networks_and_fakes_carry_those_of_the_reals(
    kind: str, order: str, noise: str
) -> None:
    chosen = a_recipe(
        condition={"kind": kind},
        step={"order": order, "noise": noise, "d_steps": 2},
        objective={"kind": "relativistic-paired"},
        data={"batch": 5, "pixels": [0.0, 1.0]},
        generator={"output": "sigmoid"},
    )
    run = state.begin(chosen, images(23, classes=CLASSES))
    run.gan = replace(run.gan, joined=False)  # so that D is asked once for each kind of image
    told: list[tuple[str, tuple[int, ...], bool]] = []

    def listen(name: str, network: nn.Module) -> None:
        def hear(_: nn.Module, arguments: tuple[Tensor, Tensor]) -> None:
            x, y = arguments
            corner = (x.flatten(1)[:, 0] * 255).round()
            is_real = name == "D" and bool((corner == y).all())
            told.append((name, tuple(y.tolist()), is_real))

        network.register_forward_pre_hook(hear)

    listen("G", run.gan.generator)
    listen("D", run.gan.discriminator)
    order_of_batches = copy_of(run, chosen, images(23, classes=CLASSES)).stream
    for _ in range(3):
        told.clear()
        run.advance()
        batches = []
        for _ in range(2):
            _, y = order_of_batches.reals()
            assert y is not None
            batches.append(tuple(y.tolist()))
        assert len(set(batches)) == 2
        for name in "GD":
            heard = {labels for whose, labels, _ in told if whose == name}
            assert heard == set(batches)
        judged = [(labels, is_real) for whose, labels, is_real in told if whose == "D"]
        for labels in batches:  # each as often with its reals as with fakes: in D's turns, and in G's
            assert judged.count((labels, True)) == judged.count((labels, False)) > 0
        assert len(judged) == 6


@pytest.mark.parametrize("kind", ["concat", "projection"])
def test_labels_change_what_both_networks_answer(kind: str) -> None:
    gan = a_gan(classes=CLASSES, condition={"kind": kind})
    z, x = torch.ones(CLASSES, 3, dtype=torch.float64), reals(1).expand(CLASSES, -1, -1, -1)
    y = torch.arange(CLASSES)
    for answers in (gan.generator(z, y), gan.discriminator(x, y)):
        assert len(torch.unique(answers.flatten(1), dim=0)) == CLASSES


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A conditional run and one that knows of no labels."""
    folder = tmp_path_factory.mktemp("runs")
    dataset = images(40, side=8, classes=CLASSES)
    few: dict[str, Any] = {"data": {"batch": 20}, "optimizer": {"generator": {"lr": 0.1}}}
    return {
        kind: mulligan.train(
            a_recipe(condition={"kind": kind}, **few), data=dataset, steps=3, out=folder / kind
        ).directory
        for kind in ("concat", "none")
    }


def test_which_classes_are_drawn(runs: dict[str, Path]) -> None:
    model = mulligan.load(runs["concat"])
    by_turns = model.sample(10)
    assert (by_turns == model.sample(10, labels=[i % CLASSES for i in range(10)])).all()
    assert (model.sample(3, labels=[2]) == model.sample(3, labels=[2, 2, 2])).all()
    four = model.sample(4, labels=[2, 0, 2, 6])
    assert (four[2] == model.sample(3, labels=[2])[2]).all()  # an image is its seed, number and class
    assert (four[1] == model.sample(2, labels=[0])[1]).all()
    assert (four[1] != model.sample(2, labels=[1])[1]).any()
    many = model.sample(sampler.CHUNK + 3)
    last = sampler.CHUNK + 2
    assert (many[last] == model.sample(last + 1, labels=[last % CLASSES])[last]).all()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1], "labels: expected one for all or one for each of 3 images, got 2"),
        ([0, 1, 2, 3], "got 4"),
        ([], "got 0"),
        ([7], r"labels: expected 0\.\.6, got 7"),
        ([0, -1, 0], r"labels: expected 0\.\.6, got -1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: list[int], said: str, runs: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=said):
        mulligan.load(runs["concat"]).sample(3, labels=labels)
    with pytest.raises(UserError, match="labels: this generator was trained without any"):
        mulligan.load(runs["none"]).sample(3, labels=labels)


def test_generate_takes_labels(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = mulligan.load(runs["concat"])

    def drawn(*arguments: object) -> tuple[npt.NDArray[np.uint8], list[int]]:
        out = tmp_path / "x.npz"
        assert command("generate", runs["concat"], *arguments, "--out", out) == 0
        assert capsys.readouterr().err == ""
        with np.load(out) as arrays:
            return arrays["images"], arrays["labels"].tolist()

    four, labels = drawn("--labels", "2,0,2,6")
    assert labels == [2, 0, 2, 6]
    assert (four == model.sample(4, labels=[2, 0, 2, 6])).all()
    five, labels = drawn("--labels", "3", "-n", 5)
    assert labels == [3] * 5
    assert (five == model.sample(5, labels=[3])).all()
    assert len(drawn("--labels", "3")[1]) == 64
    assert drawn("--labels", "1,2", "-n", 2)[1] == [1, 2]
    assert drawn("-n", 9)[1] == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    walk = tmp_path / "walk.gif"
    assert command("generate", runs["concat"], "--labels", 4, "--interpolate", 2, "--out", walk) == 0
    assert walk.exists()


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        ("concat", ("--labels", "1,2", "-n", 3), "expected one for all or one for each of 3 images, got 2"),
        ("concat", ("--labels", "1,2,3", "-n", 1), "of 1 images, got 3"),
        ("concat", ("--labels", "7"), "there is no class '7' (choose from 0, 1, 2"),
        ("concat", ("--labels", "0,-1"), "there is no class '-1'"),
        ("concat", ("--labels", "2;0"), "there is no class '2;0'"),
        ("concat", ("--labels", ""), "--labels"),
        ("concat", ("--labels", "1,"), "--labels 1,: expected classes between commas"),
        ("concat", ("--labels", "one"), "there is no class 'one'"),
        ("concat", ("--labels", "1,2", "--interpolate", 2, "--out", "x.gif"), "a walk keeps to one"),
        ("none", ("--labels", "1"), "trained without any (condition.kind 'none')"),
        ("none", ("--labels", "1", "--interpolate", 2, "--out", "x.gif"), "trained without any"),
    ],
)
def test_generate_refuses_labels_that_do_not_fit(
    kind: str,
    arguments: tuple[object, ...],
    said: str,
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("generate", runs[kind], *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("mulligan: ")
    assert printed.err.count("\n") == 1
    assert said in printed.err
    assert list(tmp_path.iterdir()) == []
