"""Each objective against its formula, written in NumPy from probabilities and logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mulligan import build
from mulligan.objectives import Objective

Array = npt.NDArray[np.float64]

# The probability that a network with these logits gives to "real".
PROBABILITY: dict[str, Callable[[Array], Array]] = {
    "non-saturating": lambda logits: 1 / (1 + np.exp(-logits[:, 0])),
    "minimax": lambda logits: 1 / (1 + np.exp(-logits[:, 0])),
    "softmax": lambda logits: np.exp(logits[:, 1]) / np.exp(logits).sum(1),
}

# G's loss on fakes that D believes with probability p.
G_LOSS: dict[str, Callable[[Array], Array]] = {
    "non-saturating": lambda p: -np.log(p),
    "minimax": lambda p: np.log(1 - p),
    "softmax": lambda p: -np.log(p),
}

# What a recipe may ask for: objective, real_label.
GAMES = [
    ("non-saturating", 1.0),
    ("non-saturating", 0.9),
    ("non-saturating", 0.6),
    ("minimax", 1.0),
    ("minimax", 0.9),
    ("softmax", 1.0),
]
HEADS = {"non-saturating": 1, "minimax": 1, "softmax": 2}

every_game = pytest.mark.parametrize(("name", "label"), GAMES)


def objective(name: str, label: float) -> Objective:
    return build.OBJECTIVES[name](label)


def draw(seed: int, batch: int, heads: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    real, fake = (
        scale * torch.randn(batch, heads, generator=rng, dtype=torch.float64) + shift for shift in (1, -1)
    )
    return real, fake


def test_every_objective_has_a_formula_here() -> None:
    assert {name for name, _ in GAMES} == PROBABILITY.keys() == G_LOSS.keys() == build.OBJECTIVES.keys()


@given(game=st.sampled_from(GAMES), seed=st.integers(0, 2**31), batch=st.integers(1, 9))
def test_values_are_the_formulas(game: tuple[str, float], seed: int, batch: int) -> None:
    name, label = game
    ours = objective(name, label)
    real, fake = draw(seed, batch, ours.heads)
    p_real, p_fake = PROBABILITY[name](real.numpy()), PROBABILITY[name](fake.numpy())
    real_terms, fake_terms = ours.d(real, fake)
    expected = -label * np.log(p_real) - (1 - label) * np.log(1 - p_real)
    np.testing.assert_allclose(real_terms.numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(fake_terms.numpy(), -np.log(1 - p_fake), rtol=1e-9)
    np.testing.assert_allclose(ours.g(fake, None).numpy(), G_LOSS[name](p_fake), rtol=1e-9)
    assert ours.probability is not None
    np.testing.assert_allclose(ours.probability(real).numpy(), p_real, rtol=1e-9)
    np.testing.assert_allclose(ours.score(real).numpy(), np.log(p_real / (1 - p_real)), atol=1e-9)
    for value in (real_terms, fake_terms, ours.g(fake, None), ours.score(fake), ours.probability(fake)):
        assert value.shape == (batch,)


@every_game
def test_each_value_depends_on_its_own_sample_alone(name: str, label: float) -> None:
    ours = objective(name, label)
    assert ours.heads == HEADS[name]
    real, fake = draw(0, 6, ours.heads)
    whole = (*ours.d(real, fake), ours.g(fake, real))
    for i in range(6):
        alone = (*ours.d(real[i : i + 1], fake[i : i + 1]), ours.g(fake[i : i + 1], None))
        for one, all_of_them in zip(alone, whole, strict=True):
            torch.testing.assert_close(one[0], all_of_them[i])


@every_game
def test_gradients(name: str, label: float) -> None:
    ours = objective(name, label)
    real, fake = (logits.requires_grad_() for logits in draw(1, 4, ours.heads))
    assert torch.autograd.gradcheck(lambda x, y: ours.d(x, y), (real, fake))
    assert torch.autograd.gradcheck(lambda y: ours.g(y, None), (fake,))
    assert torch.autograd.gradcheck(ours.score, (real,))


@every_game
def test_g_is_told_to_make_d_believe(name: str, label: float) -> None:
    """Descending each loss moves logits as the game says: D apart, G up."""
    ours = objective(name, label)
    real, fake = (torch.zeros(1, ours.heads, requires_grad=True) for _ in range(2))
    real_terms, fake_terms = ours.d(real, fake)
    up, down = torch.autograd.grad((real_terms + fake_terms).sum(), (real, fake))
    (believed,) = torch.autograd.grad(ours.g(fake, None).sum(), fake)
    assert float(ours.score(-up)) > 0
    assert float(ours.score(-down)) < 0
    assert float(ours.score(-believed)) > 0


def test_minimax_vanishes_where_d_is_sure_and_non_saturating_does_not() -> None:
    sure = torch.tensor([[-15.0]], requires_grad=True)
    gradient = {
        name: float(torch.autograd.grad(objective(name, 1.0).g(sure, None).sum(), sure)[0])
        for name in ("minimax", "non-saturating")
    }
    assert -1e-6 < gradient["minimax"] < 0
    assert gradient["non-saturating"] == pytest.approx(-1, abs=1e-6)


def logits_of(score: Tensor, heads: int) -> Tensor:
    """Logits of this score: one of it, or two that differ by it."""
    return score[:, None] if heads == 1 else torch.stack([-score / 2, score / 2], dim=1)


@every_game
def test_equilibrium_is_where_the_best_d_cannot_tell(name: str, label: float) -> None:
    """Fakes equal reals, so D has one answer for both: the best of 400,001 is taken."""
    ours = objective(name, label)
    answers = logits_of(torch.linspace(-5, 5, 400_001, dtype=torch.float64), ours.heads)
    real_terms, fake_terms = ours.d(answers, answers)
    losses = real_terms + fake_terms
    best = int(losses.argmin())
    assert float(losses[best]) == pytest.approx(ours.equilibrium[0], abs=1e-8)
    assert float(ours.g(answers[best : best + 1], None)) == pytest.approx(ours.equilibrium[1], abs=2e-5)


def test_equilibrium_of_the_paper() -> None:
    for name in ("non-saturating", "softmax"):
        assert objective(name, 1.0).equilibrium == pytest.approx((math.log(4), math.log(2)))
    assert objective("minimax", 1.0).equilibrium == pytest.approx((math.log(4), -math.log(2)))


@every_game
@pytest.mark.parametrize("size", [100.0, 1e4, 1e30])
@pytest.mark.parametrize("sign", [1, -1])
def test_huge_logits_stay_finite(name: str, label: float, size: float, sign: int) -> None:
    """In float32, whose exponential overflows at 89; the loss then grows as the logit does."""
    ours = objective(name, label)
    score = torch.tensor([sign * size])
    real = logits_of(score, ours.heads).requires_grad_()
    fake = logits_of(score, ours.heads).requires_grad_()
    real_terms, fake_terms = ours.d(real, fake)
    for value in (real_terms, fake_terms, ours.g(fake, None)):
        assert bool(value.isfinite().all())
        for gradient in torch.autograd.grad(value.sum(), (real, fake), retain_graph=True, allow_unused=True):
            assert gradient is None or bool(gradient.isfinite().all())
    assert float(fake_terms.detach()) == pytest.approx(size if sign > 0 else 0, rel=1e-5)
    assert ours.probability is not None
    assert float(ours.probability(fake.detach())) == (1 if sign > 0 else pytest.approx(0, abs=1e-30))
