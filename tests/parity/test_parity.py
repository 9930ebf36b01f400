"""Each recipe against a plain loop written from its tutorial, and that comparison against mutants.

The recipe runs through the real build, stream and step. What it drew is replayed into the plain
loop, from the same initial weights: the losses, and in float64 the weights, must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mulligan.step
from mulligan import build, recipe, state
from mulligan.data.dataset import Dataset
from mulligan.pixels import to_uint8
from mulligan.step import Knobs
from mutants import mutated
from parity.plain_loops import PLAIN_LOOPS, Trace, Weights

STEPS = 50


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """1,000 random images: 15 batches of 64 and one of 40, so that short batches and carries occur."""
    images = np.random.default_rng(0).integers(0, 256, (1000, 1, 28, 28), dtype=np.uint8)
    return Dataset("random", images)


@dataclass
class Recorded:
    """A stream that remembers what it gave."""

    stream: Any

    def __post_init__(self) -> None:
        self.drawn_reals: list[Tensor] = []
        self.drawn_latents: list[Tensor] = []

    def reals(self) -> tuple[Tensor, Tensor | None]:
        x, y = self.stream.reals()
        self.drawn_reals.append(to_uint8(x, *self.stream.recipe.data.pixels))
        return x, y

    def latents(self, n: int) -> Tensor:
        z: Tensor = self.stream.latents(n)
        self.drawn_latents.append(z)
        return z

    def uniform(self, *shape: int) -> Tensor:
        raise AssertionError("no tutorial draws anything else")

    normal = uniform


def plain_weights(network: nn.Module) -> Weights:
    """Number the layers that have weights, as the plain loops do."""
    layers = [m for m in network.modules() if isinstance(getattr(m, "weight", None), nn.Parameter)]
    named = ((f"{i}.{name}", p) for i, layer in enumerate(layers) for name, p in layer.named_parameters())
    return {name: p.detach().clone() for name, p in named}


def ours_and_plain(name: str, dataset: Dataset, dtype: torch.dtype, steps: int) -> tuple[Trace, Trace]:
    """Run a recipe through the package, then replay its draws through the plain loop."""
    run = state.begin(recipe.read(name), dataset, seed=1, dtype=dtype)
    initial = plain_weights(run.gan.generator), plain_weights(run.gan.discriminator)
    recorded = Recorded(run.stream)
    updates = [run.gan.step(recorded, Knobs()) for _ in range(steps)]
    ours = Trace(
        [float(u.d.loss) for u in updates],
        [float(u.g.loss) for u in updates],
        plain_weights(run.gan.generator),
        plain_weights(run.gan.discriminator),
    )
    plain = PLAIN_LOOPS[name](*initial, iter(recorded.drawn_reals), iter(recorded.drawn_latents), steps)
    return ours, plain


def largest_difference(a: Weights, b: Weights) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("name", PLAIN_LOOPS)
def test_float64_losses_and_weights(name: str, dataset: Dataset) -> None:
    ours, plain = ours_and_plain(name, dataset, torch.float64, STEPS)
    np.testing.assert_allclose(ours.d_losses, plain.d_losses, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.g_losses, plain.g_losses, rtol=0, atol=1e-9)
    assert largest_difference(ours.generator, plain.generator) < 1e-9
    assert largest_difference(ours.discriminator, plain.discriminator) < 1e-9
    assert len(set(ours.d_losses)) == STEPS  # the game moved


@pytest.mark.parametrize("name", PLAIN_LOOPS)
def test_float32_losses(name: str, dataset: Dataset) -> None:
    ours, plain = ours_and_plain(name, dataset, torch.float32, STEPS)
    np.testing.assert_allclose(ours.d_losses, plain.d_losses, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.g_losses, plain.g_losses, rtol=0, atol=1e-4)


# Mutants ---------------------------------------------------------------------------------------
#
# Each is one change of the text of step.py or objectives.py, with the recipes it must show in.

ALL = tuple(PLAIN_LOOPS)
D_FIRST = ("mlp-relu", "mlp-tanh", "mlp-smooth")
CROSS_ENTROPY = ("mlp-relu", "mlp-tanh", "mlp-smooth", "mlp-batchnorm")

MUTANTS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    # Signs
    "D's sign": ("step", "loss = gan.d_scale * (", "loss = -gan.d_scale * (", ALL),
    "G's sign": ("step", "loss = gan.objective.g(", "loss = -gan.objective.g(", ALL),
    "fakes' sign in D": ("step", "real_terms.mean() + fake", "real_terms.mean() - fake", ALL),
    "fakes called real by D": (
        "objectives",
        "_against(fake[:, 0], fake_label)",
        "_against(fake[:, 0], 1 - fake_label)",
        CROSS_ENTROPY,
    ),
    "reals called fake by D": (
        "objectives",
        "_against(real[:, 0], real_label)",
        "_against(real[:, 0], 1 - real_label)",
        CROSS_ENTROPY,
    ),
    "saturating G": (
        "objectives",
        "lambda fake: _against(fake, 1.0)",
        "lambda fake: -_against(fake, 0.0)",
        CROSS_ENTROPY,
    ),
    "classes swapped for G": (
        "objectives",
        "return -log_softmax(fake, dim=1)[:, 1]",
        "return -log_softmax(fake, dim=1)[:, 0]",
        ("dcgan-softmax",),
    ),
    "no label smoothing": (
        "objectives",
        "_against(real[:, 0], real_label)",
        "_against(real[:, 0], 1.0)",
        ("mlp-smooth",),
    ),
    # Detaches
    "fakes not detached, d-then-g": (
        "step",
        "fake.detach(), y, source, knobs)\n        move_discriminator(gan, d)\n    if",
        "fake, y, source, knobs)\n        move_discriminator(gan, d)\n    if",
        ("mlp-relu", "mlp-smooth"),
    ),
    "fakes not detached, g-then-d": (
        "step",
        "fake.detach(), y, source, knobs)\n        move_discriminator(gan, d)\n    return",
        "fake, y, source, knobs)\n        move_discriminator(gan, d)\n    return",
        ("mlp-batchnorm",),
    ),
    "fakes not detached, together": (
        "step",
        "fake.detach(), y, source, knobs)\n        if k",
        "fake, y, source, knobs)\n        if k",
        ("dcgan-softmax",),
    ),
    "fakes detached for G": (
        "step",
        "fake_logits = judge(gan, look(gan, fake, source",
        "fake_logits = judge(gan, look(gan, fake.detach(), source",
        ALL,
    ),
    # Reductions
    "D sums reals": ("step", "real_terms.mean()", "real_terms.sum()", ALL),
    "D sums fakes": ("step", "fake_terms.mean()", "fake_terms.sum()", ALL),
    "G sums": ("step", "real_logits).mean()", "real_logits).sum()", ALL),
    "D's scale forgotten": ("step", "loss = gan.d_scale * (", "loss = (", ("dcgan-softmax", "mlp-batchnorm")),
    # Orders and noise
    "g-then-d for d-then-g": ("order", "d-then-g", "g-then-d", D_FIRST),
    "together for d-then-g": ("order", "d-then-g", "together", D_FIRST),
    "d-then-g for g-then-d": ("order", "g-then-d", "d-then-g", ("mlp-batchnorm",)),
    # together for g-then-d is no mutant: G moves first, but D judges fakes from before it moved.
    "d-then-g for together": ("order", "together", "d-then-g", ("dcgan-softmax",)),
    "D moves before G's gradient": (
        "step",
        "    g = generator_turn(gan, real, fake, y, source, knobs)\n    move_discriminator(gan, d)\n",
        "    move_discriminator(gan, d)\n    g = generator_turn(gan, real, fake, y, source, knobs)\n",
        ("dcgan-softmax",),
    ),
    "fresh noise for shared": (
        "step",
        "if not gan.shared_noise:",
        "if True:",
        ("mlp-relu", "mlp-smooth", "dcgan-softmax"),
    ),
    "D's fakes drawn anew": ("step", "if k > 0 or not gan.shared_noise:", "if True:", ("mlp-batchnorm",)),
    "D does not move": ("step", "_move(gan.d_optimizer, turn)", "pass", ALL),
    "G does not move": ("step", "_move(gan.g_optimizer, turn)", "pass", ALL),
}
CASES = [pytest.param(m, n, id=f"{n}: {m}") for m, (_, _, _, names) in MUTANTS.items() for n in names]


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def apply(mutant: str) -> None:
        where, old, new, _ = MUTANTS[mutant]
        if where == "order":
            monkeypatch.setitem(build.ORDERS, old, build.ORDERS[new])
            return
        module = mutated(where, old, new)
        if where == "objectives":
            for kind, function in (("non-saturating", "non_saturating"), ("softmax", "softmax")):
                monkeypatch.setitem(build.OBJECTIVES, kind, getattr(module, function))
            return
        for kind in build.ORDERS:
            monkeypatch.setitem(build.ORDERS, kind, getattr(module, kind.replace("-", "_")))

    return apply


@pytest.mark.parametrize(("mutant", "name"), CASES)
def test_parity_fails_for_a_mutant(
    mutant: str, name: str, dataset: Dataset, mutate: Callable[[str], None]
) -> None:
    mutate(mutant)
    try:
        ours, plain = ours_and_plain(name, dataset, torch.float64, steps=3)
    except (RuntimeError, AssertionError, StopIteration):
        return  # the mutant broke the run itself: nobody would miss it
    losses = np.abs(np.subtract(ours.d_losses + ours.g_losses, plain.d_losses + plain.g_losses)).max()
    weights = max(
        largest_difference(ours.generator, plain.generator),
        largest_difference(ours.discriminator, plain.discriminator),
    )
    assert max(losses, weights) > 1e-6


def test_the_unmutated_step_survives_being_executed_from_its_text(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutants fail for what was changed, not for how they are loaded."""
    assert mulligan.step.__file__
    module = mutated("step", "def d_then_g", "def d_then_g")
    monkeypatch.setitem(build.ORDERS, "d-then-g", module.d_then_g)
    ours, plain = ours_and_plain("mlp-relu", dataset, torch.float64, steps=3)
    np.testing.assert_allclose(ours.d_losses, plain.d_losses, rtol=0, atol=1e-9)
