"""Penalties on critics whose gradient is known, against finite differences, and against mutants."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mulligan import penalties
from mulligan.penalties import Forward, Penalty
from mutants import mutated

NAMES = ("r1", "r2", "gradient_penalty", "one_sided_gradient_penalty", "dragan")
SLOPED = NAMES[2:]  # those that ask for a slope of 1, at points of their own
SHAPE = (6, 2, 3, 3)
Critic = Callable[[Tensor], Tensor]


def noise(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw(*shape: int) -> Tensor:
    """The same numbers on every call, so that a test can draw what a penalty drew."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(99), dtype=torch.float64)


def forward(
    critic: Critic, seed: int = 0, *, joined: bool = False, module: types.ModuleType = penalties
) -> Forward:
    real, fake = (noise(seed + 1) + 1).requires_grad_(), (2 * noise(seed + 2)).requires_grad_()
    answers = [critic(real), critic(fake)]
    if joined:
        answers = list(critic(torch.cat([real, fake])).chunk(2))
    logits = [answer[:, None] for answer in answers]
    record: Forward = module.Forward(real, fake, *logits, critic, lambda x: x[:, 0], draw, joined)
    return record


def points(name: str, seen: Forward) -> Tensor:
    """Where a penalty looks, written once more."""
    real, fake = seen.real.detach(), seen.fake.detach()
    if name == "r1":
        return real
    if name == "r2":
        return fake
    if name == "dragan":
        return real + 0.5 * float(np.std(real.numpy())) * draw(*SHAPE)
    epsilon = draw(len(real), 1, 1, 1)
    return torch.stack([e * r + (1 - e) * f for e, r, f in zip(epsilon, real, fake, strict=True)])


def value(name: str, slope: Tensor) -> Tensor:
    """What a penalty makes of the slopes [B]."""
    if name in ("r1", "r2"):
        return 0.5 * slope**2
    if name == "one_sided_gradient_penalty":
        return torch.where(slope > 1, (slope - 1) ** 2, torch.zeros_like(slope))
    return (slope - 1) ** 2


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Sequential(nn.Flatten(), nn.Linear(18, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.mul_(4)  # slopes on both sides of 1
    return layers.double()


def slope_of_network(layers: nn.Sequential, x: Tensor) -> Tensor:
    """‖∇s‖ by the chain rule on paper: ∇s = W₁ᵀ ((1 − tanh²(W₁x + b)) w₂)."""
    first, last = layers[1], layers[3]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    hidden = torch.tanh(x.flatten(1) @ first.weight.T + first.bias)
    return (((1 - hidden**2) * last.weight) @ first.weight).square().sum(1).sqrt()


def weight_gradients(loss: Tensor, layers: nn.Sequential) -> list[Tensor]:
    """Zero where the loss knows nothing of a parameter: no slope depends on the last bias."""
    gradients = torch.autograd.grad(loss, list(layers.parameters()), allow_unused=True)
    return [
        torch.zeros_like(p) if g is None else g for p, g in zip(layers.parameters(), gradients, strict=True)
    ]


def check(name: str, module: types.ModuleType = penalties, *, joined: bool = False) -> None:
    """Values, and gradients by D's weights, are those of slopes worked out on paper."""
    penalty: Penalty = getattr(module, name)
    layers = network()
    seen = forward(layers, joined=joined, module=module)
    ours = penalty(seen)
    paper = value(name, slope_of_network(layers, points(name, seen)))
    assert ours.shape == (len(seen.real),)
    torch.testing.assert_close(ours, paper, rtol=1e-9, atol=1e-9)
    for a, b in zip(
        weight_gradients(ours.mean(), layers), weight_gradients(paper.mean(), layers), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_on_a_network(name: str, joined: bool) -> None:
    check(name, joined=joined)


@pytest.mark.parametrize("length", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("name", NAMES)
def test_linear_critic(name: str, length: float) -> None:
    w = noise(5)[0]
    w = w * (length / w.norm())
    ours = getattr(penalties, name)(forward(lambda x: (x * w).sum(dim=(1, 2, 3))))
    slope = torch.full((len(ours),), length, dtype=torch.float64)
    torch.testing.assert_close(ours, value(name, slope), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_quadratic_critic(name: str) -> None:
    norms = points(name, forward(network())).flatten(1).norm(dim=1)
    a = float(1 / norms.median())
    seen = forward(lambda x: a / 2 * x.square().sum(dim=(1, 2, 3)))  # ∇s = a x
    slope = a * norms
    assert slope.min() <= 1 < slope.max()
    torch.testing.assert_close(getattr(penalties, name)(seen), value(name, slope), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_by_the_weights_against_finite_differences(name: str) -> None:
    layers = network(1)

    def loss() -> Tensor:
        return torch.as_tensor(getattr(penalties, name)(forward(layers)).mean())

    gradients = weight_gradients(loss(), layers)
    for parameter, gradient in zip(layers.parameters(), gradients, strict=True):
        for i in range(0, parameter.numel(), 5):
            flat, h = parameter.data.view(-1), 1e-6
            old = float(flat[i])
            flat[i] = old + h
            above = float(loss().detach())
            flat[i] = old - h
            below = float(loss().detach())
            flat[i] = old
            assert (above - below) / (2 * h) == pytest.approx(float(gradient.view(-1)[i]), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_r1_and_r2_reuse_the_forward_pass(name: str) -> None:
    layers, calls = network(), 0

    def critic(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        out: Tensor = layers(x)
        return out

    seen = forward(critic)
    assert calls == 2
    reused = getattr(penalties, name)(seen)
    assert calls == 2
    x = (seen.real if name == "r1" else seen.fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(layers(x).sum(), x)
    torch.testing.assert_close(reused, gradient.square().sum(dim=(1, 2, 3)) / 2)
    (seen.real_logits.mean() + reused.mean()).backward()  # the graph is still there


def test_a_critic_with_two_heads_is_judged_by_its_score() -> None:
    w, v = noise(6)[0], noise(7)[0]

    def both(x: Tensor) -> Tensor:
        return torch.stack([(x * w).sum(dim=(1, 2, 3)), (x * v).sum(dim=(1, 2, 3))], dim=1)

    def score(logits: Tensor) -> Tensor:
        return logits[:, 1] - logits[:, 0]

    real, fake = noise(1).requires_grad_(), noise(2).requires_grad_()
    seen = Forward(real, fake, both(real), both(fake), lambda x: score(both(x)), score, draw)
    slope = (v - w).norm().expand(len(real))
    for name in NAMES:
        torch.testing.assert_close(getattr(penalties, name)(seen), value(name, slope), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_a_flat_critic_gives_no_nan(name: str, dtype: torch.dtype) -> None:
    weight = torch.zeros((), dtype=dtype, requires_grad=True)

    def critic(x: Tensor) -> Tensor:
        return weight * x.square().sum(dim=(1, 2, 3))

    real, fake = (noise(seed).to(dtype).requires_grad_() for seed in (1, 2))
    seen = Forward(
        real, fake, critic(real)[:, None], critic(fake)[:, None], critic, lambda logits: logits[:, 0],
        lambda *shape: draw(*shape).to(dtype),
    )  # fmt: skip
    ours = getattr(penalties, name)(seen)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, value(name, torch.zeros_like(ours)), rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(ours.mean(), weight)
    assert torch.isfinite(gradient)


@pytest.mark.parametrize("name", SLOPED)
def test_nothing_reaches_the_generator(name: str) -> None:
    seen = forward(network())
    getattr(penalties, name)(seen).mean().backward()
    assert seen.real.grad is None
    assert seen.fake.grad is None


def test_one_epsilon_per_sample() -> None:
    shapes: list[tuple[int, ...]] = []

    def uniform(*shape: int) -> Tensor:
        shapes.append(shape)
        return draw(*shape)

    layers = network()
    seen = forward(layers)
    recorded = Forward(seen.real, seen.fake, seen.real_logits, seen.fake_logits, layers, seen.score, uniform)
    for name in NAMES:
        getattr(penalties, name)(recorded)
    assert shapes == [(6, 1, 1, 1), (6, 1, 1, 1), SHAPE]


# Mutants ---------------------------------------------------------------------------------------

INTERPOLATED = ("gradient_penalty", "one_sided_gradient_penalty")

MUTANTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "r1 at the fakes": (
        "self.real_logits), self.real)[0]",
        "self.fake_logits), self.fake)[0]",
        ("r1",),
    ),
    "r2 at the reals": (
        "self.fake_logits), self.fake)[0]",
        "self.real_logits), self.real)[0]",
        ("r2",),
    ),
    "no half": ("_gradient) / 2", "_gradient)", ("r1", "r2")),
    "no square": (".flatten(1).square()", ".flatten(1)", NAMES),
    "mean for sum over pixels": (".sum(dim=1)", ".mean(dim=1)", NAMES),
    "one norm for the batch": (".sum(dim=1)", ".sum().expand(len(gradient))", NAMES),
    "mean score": ("score.sum()", "score.mean()", NAMES),
    "no graph": ("create_graph=True", "retain_graph=True", NAMES),
    "no root": (".sqrt()\n\n\ndef _gradient", "\n\n\ndef _gradient", SLOPED),
    "slope of 0 asked for": (") - 1).square()", ")).square()", SLOPED),
    "slope unsquared": (") - 1).square()", ") - 1)", SLOPED),
    "one-sided both ways": ("relu(_slope", "(_slope", ("one_sided_gradient_penalty",)),
    "relu misplaced": (
        "relu(_slope(forward, _between(forward)) - 1)",
        "(relu(_slope(forward, _between(forward))) - 1)",
        ("one_sided_gradient_penalty",),
    ),
    "epsilon weighs the fakes": (
        "epsilon * real + (1 - epsilon) * fake",
        "epsilon * fake + (1 - epsilon) * real",
        INTERPOLATED,
    ),
    "one epsilon for all": ("uniform(len(real), 1, 1, 1)", "uniform(1, 1, 1, 1)", INTERPOLATED),
    "one epsilon per pixel": ("uniform(len(real), 1, 1, 1)", "uniform(*real.shape)", INTERPOLATED),
    "around the fakes": ("x = forward.real.detach()", "x = forward.fake.detach()", ("dragan",)),
    "std unhalved": ("std / 2", "std", ("dragan",)),
    "variance for std": (".sqrt()\n    return (_slope", "\n    return (_slope", ("dragan",)),
    "root mean square for std": ("(x - batch_mean(x)).square()", "x.square()", ("dragan",)),
    "symmetric perturbation": (
        "forward.uniform(*x.shape)",
        "(2 * forward.uniform(*x.shape) - 1)",
        ("dragan",),
    ),
    "one perturbation per sample": ("uniform(*x.shape)", "uniform(len(x), 1, 1, 1)", ("dragan",)),
}
CASES = [pytest.param(m, name, id=f"{name}: {m}") for m, (_, _, names) in MUTANTS.items() for name in names]


@pytest.mark.parametrize(("mutant", "name"), CASES)
def test_the_check_fails_for_a_mutant(mutant: str, name: str) -> None:
    old, new, _ = MUTANTS[mutant]
    module: Any = mutated("penalties", old, new)
    try:
        check(name, module)
    except (AssertionError, RuntimeError):  # a gradient that is not there is a RuntimeError
        return
    pytest.fail("the check did not see the mutant")


@pytest.mark.parametrize("name", NAMES)
def test_the_check_passes_for_the_unmutated_text(name: str) -> None:
    check(name, mutated("penalties", "std / 2", "std / 2"))
