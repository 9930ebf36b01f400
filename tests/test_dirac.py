"""The DiracGAN: a game of two numbers whose paths are known, played by our own step.

Mescheder, Geiger and Nowozin 2018, "Which Training Methods for GANs do actually Converge?" (arXiv
1801.04406): the data is one point, 0; G makes one point, θ; D(x) = ψ·x. The only equilibrium is
θ = ψ = 0. There, gradient descent with steps of size h is a linear map, whose eigenvalues say
whether it is ever reached, and how fast.

Which sign ψ turns in is a matter of convention, and of no matter to an eigenvalue.
"""

from __future__ import annotations

import math
import types
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from mulligan import build, constraints, penalties, step
from mulligan.objectives import Objective
from mulligan.penalties import Penalty
from mutants import mutated

H = 0.1
Array = npt.NDArray[np.float64]

# f'(0) of each: how strongly both are pulled where D cannot tell. LSGAN's is no such game: see below.
PULLS = {
    "non-saturating": 0.5,
    "minimax": 0.5,
    "softmax": 0.5,
    "hinge": 1.0,
    "wasserstein": 1.0,
    "relativistic-paired": 0.5,
    "relativistic-average": 1.0,  # two terms of 0.5
}
SMOOTH = ("non-saturating", "minimax", "softmax")  # f''(0) = −1/4; where f is straight, noise does nothing
ORDERS = ("together", "d-then-g", "g-then-d")


class Point(nn.Module):
    """G: θ, whatever z is."""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.theta.expand(len(z), 1, 1, 1)


class Slope(nn.Module):
    """D: ψ·x, as one logit, or as the difference between two."""

    def __init__(self, psi: float, heads: int) -> None:
        super().__init__()
        self.psi, self.heads = nn.Parameter(torch.tensor(psi, dtype=torch.float64)), heads

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        score = self.psi * x.flatten(1)
        return score if self.heads == 1 else torch.cat([-score / 2, score / 2], dim=1)


@dataclass
class Zeros:
    """The data, and noise that is the same every time: evenly spread, with variance 1."""

    batch: int = 1

    def reals(self) -> tuple[Tensor, Tensor | None]:
        return torch.zeros(self.batch, 1, 1, 1, dtype=torch.float64), None

    def latents(self, n: int) -> Tensor:
        return torch.zeros(n, 1, dtype=torch.float64)

    def uniform(self, *shape: int) -> Tensor:
        return torch.full(shape, 0.5, dtype=torch.float64)

    def normal(self, *shape: int) -> Tensor:
        even = torch.linspace(-1, 1, math.prod(shape), dtype=torch.float64)
        return (even / even.square().mean().sqrt()).reshape(shape)


@dataclass(frozen=True)
class Game:
    """How it is played."""

    objective: str = "minimax"
    order: str = "together"
    penalty: str = ""
    gamma: float = 0.0
    noise: float = 0.0
    d_steps: int = 1
    clip: float = 0.0
    d_scale: float = 1.0
    batch: int = 1

    def play(self, start: Sequence[float], steps: int, module: types.ModuleType = step) -> Array:
        """Return the path ``[steps + 1, 2]`` of (θ, ψ)."""
        objective: Objective = build.OBJECTIVES[self.objective]()
        g, d = Point(start[0]), Slope(start[1], objective.heads)
        penalty: Penalty | None = getattr(penalties, self.penalty) if self.penalty else None
        gan = module.GAN(
            generator=g,
            discriminator=d,
            g_optimizer=torch.optim.SGD(g.parameters(), lr=H),
            d_optimizer=torch.optim.SGD(d.parameters(), lr=H),
            objective=objective,
            order=getattr(module, self.order.replace("-", "_")),
            d_scale=self.d_scale,
            d_steps=self.d_steps,
            penalties=(penalty,) if penalty else (),
            constrain=partial(constraints.clip_weights, bound=self.clip) if self.clip else _free,
        )
        knobs = module.Knobs(gammas=(self.gamma,) if penalty else (), noise=self.noise)
        source = Zeros(self.batch)
        path = [start]
        for _ in range(steps):
            gan.step(source, knobs)
            path.append((float(g.theta.detach()), float(d.psi.detach())))
        return np.array(path)


def _free(_: nn.Module) -> None:
    """No constraint."""


def jacobian(game: Game, module: types.ModuleType = step) -> Array:
    """One step's, at the equilibrium."""
    epsilon = 1e-5
    corners = ([epsilon, 0.0], [0.0, epsilon])
    ends = [(game.play(c, 1, module)[1] - game.play([-x for x in c], 1, module)[1]) for c in corners]
    return np.stack(ends, axis=1) / (2 * epsilon)


def published(game: Game) -> Array:
    """The same on paper: θ is pulled by ψ, ψ by −θ, and ψ decays by what regularises it."""
    pull = PULLS[game.objective] * H
    decay = game.gamma if game.penalty in ("r1", "r2") else 0.0
    decay += game.noise**2 / 2 if game.objective in SMOOTH else 0.0  # −2 f''(0) σ²
    of_g = np.array([[1, pull], [0, 1]])
    of_d = np.array([[1, 0], [-pull * game.d_scale, 1 - H * decay]])
    if game.order == "together":
        return np.array(of_g + of_d - np.eye(2))
    first, second = (of_d, of_g) if game.order == "d-then-g" else (of_g, of_d)
    return np.array(second @ first)


def radius(path: Array) -> Array:
    return np.asarray(np.linalg.norm(path, axis=1))


# At the equilibrium ------------------------------------------------------------------------------

REGULARISED: dict[str, dict[str, Any]] = {
    "unregularised": {},
    "R1": {"penalty": "r1", "gamma": 0.3},
    "R2": {"penalty": "r2", "gamma": 0.3},
    "instance noise": {"noise": 1.5, "batch": 64},
    "a batch of three": {"penalty": "r1", "gamma": 0.3, "batch": 3},
    "half of D's loss": {"d_scale": 0.5, "penalty": "r1", "gamma": 0.3},
}


# The paper's formula for instance noise is for a smooth f, of one image.
MAPS = [
    (objective, order, how)
    for objective in PULLS
    for order in ORDERS
    for how in REGULARISED
    if objective in SMOOTH or how != "instance noise"
]


@pytest.mark.parametrize(("objective", "order", "how"), MAPS)
def test_one_step_is_the_published_map(objective: str, order: str, how: str) -> None:
    game = Game(objective, order, **REGULARISED[how])
    np.testing.assert_allclose(jacobian(game), published(game), rtol=0, atol=1e-8)


@pytest.mark.parametrize("objective", PULLS)
def test_eigenvalues(objective: str) -> None:
    """Without a penalty outside the unit circle, or on it where both move by turns; under R1 within."""
    pull = PULLS[objective]
    for order, size in (("together", math.sqrt(1 + (H * pull) ** 2)), ("d-then-g", 1.0), ("g-then-d", 1.0)):
        values = np.linalg.eigvals(jacobian(Game(objective, order)))
        np.testing.assert_allclose(np.abs(values), size, atol=1e-9)
        assert np.abs(values.imag).min() > 0.9 * H * pull  # it turns
    gamma = 0.3
    together = Game(objective, "together", "r1", gamma)
    root = np.emath.sqrt(gamma**2 / 4 - pull**2)
    expected = np.array([1 + H * (-gamma / 2 + root), 1 + H * (-gamma / 2 - root)])
    values = np.linalg.eigvals(jacobian(together))
    np.testing.assert_allclose(sorted(values, key=np.imag), sorted(expected, key=np.imag), atol=1e-8)
    for order in ORDERS:
        assert np.abs(np.linalg.eigvals(jacobian(Game(objective, order, "r1", gamma)))).max() < 1


def test_many_steps_of_d_turn_as_one_of_its_size() -> None:
    game = Game("wasserstein", "d-then-g", d_steps=5)
    values = np.linalg.eigvals(jacobian(game))
    np.testing.assert_allclose(np.abs(values), 1, atol=1e-9)
    one = np.linalg.eigvals(np.array([[1, H], [0, 1]]) @ np.array([[1, 0], [-5 * H, 1]]))
    np.testing.assert_allclose(sorted(values, key=np.imag), sorted(one, key=np.imag), atol=1e-8)


# From afar ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["minimax", "wasserstein"])
def test_simultaneous_descent_moves_away_with_every_step(objective: str) -> None:
    path = Game(objective, "together").play((1, 1), 400)
    assert (np.diff(radius(path)) > 0).all()
    assert radius(path)[-1] > 1.4 * radius(path)[0]
    logits = path.prod(axis=1)[:-1]  # ψθ
    slopes = np.ones_like(logits) if objective == "wasserstein" else 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(
        radius(path)[1:], radius(path)[:-1] * np.sqrt(1 + (H * slopes) ** 2), rtol=1e-12
    )


@pytest.mark.parametrize("order", ORDERS[1:])
@pytest.mark.parametrize("objective", ["minimax", "wasserstein"])
def test_alternating_descent_circles_for_ever(objective: str, order: str) -> None:
    path = Game(objective, order).play((1, 1), 800)
    assert radius(path).min() > 1.2
    assert radius(path).max() < 1.7
    assert turns(path) > 3
    first, last = radius(path)[:400], radius(path)[-400:]
    assert last.mean() == pytest.approx(first.mean(), rel=0.03)


def turns(path: Array) -> float:
    angle = np.unwrap(np.arctan2(path[:, 1], path[:, 0]))
    return float(abs(angle[-1] - angle[0]) / (2 * np.pi))


def test_the_non_saturating_game_comes_no_closer_than_its_steps_are_small() -> None:
    """Its continuous path does converge, but slower than any exponential: r² = 8 / t.

    d(r²)/dt = −2ψθ·tanh(ψθ/2) ≈ −(ψθ)², which is r⁴/8 on average over a turn. Simultaneous steps
    add h²/4·r² each, and hold it at r² = 2h; alternating ones follow the slow path.
    """
    hold = math.sqrt(2 * H)
    for start in (0.35, 0.6):
        path = Game("non-saturating", "together").play((start, 0), 800)
        assert radius(path)[-130:].mean() == pytest.approx(hold, rel=0.1)
    path = Game("non-saturating", "d-then-g").play((1, 0), 800)
    assert radius(path)[-130:].mean() == pytest.approx(1 / math.sqrt(1 + 735 * H / 8), rel=0.05)


@pytest.mark.parametrize(("penalty", "order"), [("r1", "together"), ("r1", "d-then-g"), ("r2", "together")])
@pytest.mark.parametrize("objective", PULLS)
def test_zero_centred_penalties_converge(objective: str, penalty: str, order: str) -> None:
    path = Game(objective, order, penalty, gamma=1.0).play((1, 1), 240)
    assert radius(path)[-1] < 1e-3


@pytest.mark.parametrize("objective", SMOOTH)
def test_instance_noise_converges(objective: str) -> None:
    path = Game(objective, "together", noise=1.5, batch=32).play((1, 1), 300)
    assert radius(path)[-1] < 1e-3


@pytest.mark.parametrize("order", ["together", "d-then-g"])
@pytest.mark.parametrize(("how", "d_steps"), [("gradient_penalty", 1), ("gradient_penalty", 5), ("clip", 1)])
def test_wasserstein_critics_circle_near_the_equilibrium(how: str, d_steps: int, order: str) -> None:
    """WGAN-GP and WGAN neither converge nor leave: at θ = 0, D still has a slope, and pushes past."""
    game = Game(
        "wasserstein",
        order,
        penalty="" if how == "clip" else how,
        gamma=0.25,
        clip=0.3 if how == "clip" else 0.0,
        d_steps=d_steps,
    )
    steps = 800 if d_steps == 1 else 300
    late = game.play((1, 1), steps)[steps // 2 :]
    assert radius(late).max() < 1.8
    assert radius(late).min() > 0.25
    assert np.count_nonzero(np.diff(np.sign(late[:, 0]))) >= 4
    assert np.abs(late).max(axis=0).min() > 0.25  # in both coordinates


def test_a_one_sided_penalty_does_not_converge_either() -> None:
    path = Game("wasserstein", "d-then-g", "one_sided_gradient_penalty", gamma=10.0).play((1, 1), 400)
    assert radius(path[200:]).min() > 0.5


def test_least_squares_is_another_game() -> None:
    """D is not asked for 0 where it cannot tell, but for ½: a D without a bias gives up, wherever θ is."""
    path = Game("least-squares", "together").play((1, 0.5), 300)
    assert (np.diff(np.abs(path[:, 1])) <= 0).all()
    assert abs(path[-1, 1]) < 1e-6
    assert abs(path[-1, 0]) > 1
    shear = np.array([[1.0, H], [0.0, 1.0]])
    np.testing.assert_allclose(jacobian(Game("least-squares", "together")), shear, rtol=0, atol=1e-8)


# Mutants -----------------------------------------------------------------------------------------


def check(module: types.ModuleType = step) -> None:
    """Every map is the published one, in each order, with and without what regularises it."""
    for order in ORDERS:
        for how in REGULARISED.values():
            for objective in ("non-saturating", "relativistic-paired"):
                if objective in SMOOTH or "noise" not in how:
                    game = Game(objective, order, **how)
                    np.testing.assert_allclose(jacobian(game, module), published(game), rtol=0, atol=1e-8)
    game = Game("wasserstein", "d-then-g", d_steps=3)
    np.testing.assert_allclose(jacobian(game, module), jacobian(game), rtol=0, atol=1e-8)
    # Away from the equilibrium G of a relativistic game sees a real at 0 and its fake at ψθ = 2.
    _, end = Game("relativistic-paired").play((1, 2), 1, module)
    np.testing.assert_allclose(end, [1 + H * 2 / (1 + math.exp(2)), 2 - H / (1 + math.exp(-2))])


D_MOVES = "    move_discriminator(gan, d)\n    move_generator(gan, g)\n"
REAL_LOGITS = "real_logits = judge(gan, look(gan, real, source, knobs), y)"

MUTANTS: dict[str, tuple[str, str]] = {
    "a penalty is rewarded": ("loss + gamma * penalty", "loss - gamma * penalty"),
    "a penalty is left out": ("loss + gamma * penalty(forward).mean()", "loss + 0 * penalty(forward).mean()"),
    "a penalty without its weight": ("gamma * penalty(forward)", "penalty(forward)"),
    "a penalty replaces the loss": ("loss = loss + gamma", "loss = gamma"),
    "a penalty is summed": ("penalty(forward).mean()", "penalty(forward).sum()"),
    "a penalty's graph is cut": ("penalty(forward).mean()", "penalty(forward).detach().mean()"),
    "D's terms are summed": ("fake_terms.mean())", "fake_terms.sum())"),
    "G's terms are summed": ("gan.objective.g(fake_logits, real_logits).mean()",
                             "gan.objective.g(fake_logits, real_logits).sum()"),
    "fakes do not count": ("real_terms.mean() + fake_terms.mean()", "real_terms.mean()"),
    "fakes count as reals": ("gan.objective.d(real_logits, fake_logits)",
                             "gan.objective.d(fake_logits, real_logits)"),
    "G helps D": ("gan.objective.g(fake_logits, real_logits)", "-gan.objective.g(fake_logits, real_logits)"),
    "D's scale is forgotten": ("gan.d_scale * (", "("),
    "the scale is of the penalties too": ("loss = loss + gamma", "loss = loss + gan.d_scale * gamma"),
    "G's fakes are detached": ("look(gan, fake, source, knobs), y)\n    real_logits = None",
                               "look(gan, fake.detach(), source, knobs), y)\n    real_logits = None"),
    "D's turn reaches into G": ("real, fake.detach(), y", "real, fake, y"),
    "images seen are cut from what is penalised": ("real, fake = real.detach().requires_grad_()",
                                                   "real, fake = real.detach()"),
    "together is not simultaneous": (D_MOVES, D_MOVES.replace(
        "    move_generator(gan, g)\n", "    move_generator(gan, generator_turn(gan, real, generate(gan, "
        "source.latents(len(real)), y), y, source, knobs))\n")),
    "D does not move": ("    _move(gan.d_optimizer, turn)", "    pass"),
    "G does not move": ("    _move(gan.g_optimizer, turn)", "    pass"),
    "D moves once": ("range(gan.d_steps)", "range(1)"),
    "reals without noise": ("look(gan, real, source, knobs), look(gan, fake, source, knobs)",
                            "real, look(gan, fake, source, knobs)"),
    "fakes without noise": ("look(gan, real, source, knobs), look(gan, fake, source, knobs)",
                            "look(gan, real, source, knobs), fake"),
    "noise without its size": ("instance_noise(x, knobs.noise,", "instance_noise(x, 1.0,"),
    "G's reals are its fakes": (REAL_LOGITS, REAL_LOGITS.replace("real, source", "fake, source")),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_check_fails_for_a_mutant(mutant: str) -> None:
    module = mutated("step", *MUTANTS[mutant])
    with pytest.raises((AssertionError, RuntimeError)):
        check(module)


def test_the_check_passes_for_the_unmutated_text() -> None:
    check(mutated("step", "def together", "def together"))
