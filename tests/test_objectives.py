"""The eight objectives against their formulas in numpy, and those checks against mutants."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from mulligan import build, objectives
from mulligan.objectives import Objective
from mutants import mutated

Array = npt.NDArray[np.float64]
Formulas = tuple[Callable[[Array, Array], tuple[Array, Array]], Callable[[Array, Array], Array]]

B = 7
P, Q = 0.9, 0.2  # labels of reals and fakes under two-sided smoothing


def sigma(x: Array) -> Array:
    y: Array = 1 / (1 + np.exp(-x))
    return y


def column(logits: Array) -> Array:
    return logits[:, 0]


def entropy(label: float, logits: Array) -> Array:
    y: Array = -label * np.log(sigma(logits)) - (1 - label) * np.log(1 - sigma(logits))
    return y


def classes(logits: Array) -> Array:
    y: Array = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y


# (real, fake) [B, heads] -> D's terms of reals and of fakes; (fake, real) -> G's terms.
FORMULAS: dict[str, Formulas] = {
    "non_saturating": (
        lambda r, f: (entropy(P, column(r)), entropy(Q, column(f))),
        lambda f, _: -np.log(sigma(column(f))),
    ),
    "minimax": (
        lambda r, f: (entropy(P, column(r)), entropy(Q, column(f))),
        lambda f, _: np.log(1 - sigma(column(f))),
    ),
    "softmax": (
        lambda r, f: (-np.log(classes(r)[:, 1]), -np.log(classes(f)[:, 0])),
        lambda f, _: -np.log(classes(f)[:, 1]),
    ),
    "least_squares": (
        lambda r, f: (0.5 * (column(r) - 1) ** 2, 0.5 * column(f) ** 2),
        lambda f, _: 0.5 * (column(f) - 1) ** 2,
    ),
    "hinge": (
        lambda r, f: (np.maximum(0, 1 - column(r)), np.maximum(0, 1 + column(f))),
        lambda f, _: -column(f),
    ),
    "wasserstein": (lambda r, f: (-column(r), column(f)), lambda f, _: -column(f)),
    "relativistic_paired": (
        lambda r, f: (np.log(1 + np.exp(-(column(r) - column(f)))), np.zeros(len(f))),
        lambda f, r: np.log(1 + np.exp(-(column(f) - column(r)))),
    ),
    "relativistic_average": (
        lambda r, f: (
            -np.log(sigma(column(r) - column(f).mean())),
            -np.log(1 - sigma(column(f) - column(r).mean())),
        ),
        lambda f, r: (
            -np.log(sigma(column(f) - column(r).mean())) - np.log(1 - sigma(column(r) - column(f).mean()))
        ),
    ),
}
ALL = tuple(FORMULAS)
SMOOTHED = ("non_saturating", "minimax")
CROSS_ENTROPY = ("non_saturating", "minimax", "softmax")
RELATIVISTIC = ("relativistic_paired", "relativistic_average")
LABELLED = [(name, ()) for name in ALL] + [
    (name, labels) for name in SMOOTHED for labels in [(P, Q), (0.9, 0.0)]
]
ONE_HEAD = tuple(name for name in ALL if name != "softmax")


def make(name: str, module: types.ModuleType = objectives, *labels: float) -> Objective:
    objective: Objective = getattr(module, name)(*labels)
    return objective


def logits(objective: Objective, seed: int, n: int = B) -> Tensor:
    return 2 * torch.randn(n, objective.heads, generator=torch.Generator().manual_seed(seed)).double()


def d_loss(objective: Objective, real: Tensor, fake: Tensor) -> Tensor:
    real_terms, fake_terms = objective.d(real, fake)
    return real_terms.mean() + fake_terms.mean()


def g_loss(objective: Objective, real: Tensor, fake: Tensor) -> Tensor:
    return objective.g(fake, real if objective.relativistic else None).mean()


def logits_of(score: Tensor, heads: int) -> Tensor:
    """Logits of this score: one of it, or two that differ by it."""
    return score[:, None] if heads == 1 else torch.stack([-score / 2, score / 2], dim=1)


def slopes(function: Callable[[Array], float], x: Array, h: float = 1e-6) -> Array:
    """Central differences."""
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = h
        gradient[i] = (function(x + step) - function(x - step)) / (2 * h)
    return gradient


def check(name: str, module: types.ModuleType = objectives) -> None:
    """Each term, and the gradient of each reduced loss by each logit, is what the formula says."""
    objective = make(name, module, *((P, Q) if name in SMOOTHED else ()))
    d, g = FORMULAS[name]
    real, fake = logits(objective, 1), logits(objective, 2)
    r, f = real.numpy().copy(), fake.numpy().copy()
    for ours, formula in zip(objective.d(real, fake), d(r, f), strict=True):
        np.testing.assert_allclose(ours, formula, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        objective.g(fake, real if objective.relativistic else None), g(f, r), rtol=0, atol=1e-12
    )
    real.requires_grad_()
    fake.requires_grad_()
    by_real, by_fake = torch.autograd.grad(d_loss(objective, real, fake), (real, fake))

    def d_reduced(real: Array, fake: Array) -> float:
        return float(sum(terms.mean() for terms in d(real, fake)))

    np.testing.assert_allclose(by_real, slopes(lambda x: d_reduced(x, f), r), rtol=0, atol=1e-8)
    np.testing.assert_allclose(by_fake, slopes(lambda x: d_reduced(r, x), f), rtol=0, atol=1e-8)
    (by_fake,) = torch.autograd.grad(g_loss(objective, real, fake), fake)
    np.testing.assert_allclose(by_fake, slopes(lambda x: float(g(x, r).mean()), f), rtol=0, atol=1e-8)


def test_a_recipe_may_ask_for_each() -> None:
    assert {name.replace("_", "-"): getattr(objectives, name) for name in ALL} == build.OBJECTIVES


@pytest.mark.parametrize("name", ALL)
def test_terms_and_gradients_are_the_formula_s(name: str) -> None:
    check(name)


@pytest.mark.parametrize("name", ALL)
def test_score_and_probability_are_the_formula_s(name: str) -> None:
    objective = make(name)
    x = logits(objective, 16)
    if name not in CROSS_ENTROPY:
        assert objective.probability is None
        assert torch.equal(objective.score(x), x[:, 0])
        return
    p = classes(x.numpy())[:, 1] if name == "softmax" else sigma(column(x.numpy()))
    assert objective.probability is not None
    np.testing.assert_allclose(objective.probability(x), p, rtol=0, atol=1e-12)
    np.testing.assert_allclose(objective.score(x), np.log(p / (1 - p)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_gradcheck(name: str) -> None:
    objective = make(name)
    real, fake = (logits(objective, seed).requires_grad_() for seed in (3, 4))
    assert torch.autograd.gradcheck(objective.d, (real, fake))
    assert torch.autograd.gradcheck(lambda f, r: objective.g(f, r), (fake, real))


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("name", ALL)
def test_one_value_per_sample(name: str, n: int) -> None:
    objective = make(name)
    real, fake = logits(objective, 5, n), logits(objective, 6, n)
    values = [*objective.d(real, fake), objective.g(fake, real), objective.score(real)]
    if objective.probability:
        values.append(objective.probability(real))
    assert [tuple(v.shape) for v in values] == [(n,)] * len(values)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_huge_logits_stay_finite(name: str, signs: tuple[int, int]) -> None:
    objective = make(name)
    real, fake = (torch.full((3, objective.heads), 1e4 * sign) for sign in signs)
    if objective.heads == 2:
        real[:, 0], fake[:, 0] = -real[:, 0], -fake[:, 0]
    real.requires_grad_()
    fake.requires_grad_()
    for loss in (d_loss(objective, real, fake), g_loss(objective, real, fake)):
        assert torch.isfinite(loss)
        for gradient in torch.autograd.grad(loss, (real, fake), allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("name", "labels"), [*((name, ()) for name in CROSS_ENTROPY), *((name, (P, Q)) for name in SMOOTHED)]
)
@pytest.mark.parametrize("size", [100.0, 1e4, 1e30])
@pytest.mark.parametrize("sign", [1, -1])
def test_cross_entropy_grows_as_a_logit_does(
    name: str, labels: tuple[float, ...], size: float, sign: int
) -> None:
    """In float32, whose exponential overflows at 89."""
    objective = make(name, objectives, *labels)
    score = torch.tensor([sign * size])
    real = logits_of(score, objective.heads).requires_grad_()
    fake = logits_of(score, objective.heads).requires_grad_()
    real_terms, fake_terms = objective.d(real, fake)
    for value in (real_terms, fake_terms, objective.g(fake, None)):
        assert value.isfinite().all()
        for gradient in torch.autograd.grad(value.sum(), (real, fake), retain_graph=True, allow_unused=True):
            assert gradient is None or gradient.isfinite().all()
    label = labels[1] if labels else 0.0
    believed = 1 - label if sign > 0 else label
    assert float(fake_terms.detach()) == pytest.approx(believed * size, rel=1e-5)
    assert objective.probability is not None
    assert float(objective.probability(fake.detach())) == (1 if sign > 0 else pytest.approx(0, abs=1e-30))


@pytest.mark.parametrize("name", ALL)
def test_the_game(name: str) -> None:
    """Descending each loss moves scores as the game says: D's apart, G's fakes up."""
    objective = make(name)
    undecided = torch.full((1, objective.heads), 0.25)  # between the 0 and 1 of least squares
    real, fake = (undecided.clone().requires_grad_() for _ in range(2))
    up, down = torch.autograd.grad(d_loss(objective, real, fake), (real, fake))
    (believed,) = torch.autograd.grad(g_loss(objective, real, fake), fake)
    assert float(objective.score(-up)) > 0
    assert float(objective.score(-down)) < 0
    assert float(objective.score(-believed)) > 0


def test_minimax_vanishes_where_d_is_sure_and_non_saturating_does_not() -> None:
    sure = torch.tensor([[-15.0]], requires_grad=True)
    gradient = {
        name: float(torch.autograd.grad(make(name).g(sure, None).sum(), sure)[0]) for name in SMOOTHED
    }
    assert -1e-6 < gradient["minimax"] < 0
    assert gradient["non_saturating"] == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_flags(name: str) -> None:
    objective = make(name)
    assert objective.relativistic == (name in RELATIVISTIC)
    assert objective.heads == (2 if name == "softmax" else 1)
    assert (objective.probability is None) == (name not in CROSS_ENTROPY)


@pytest.mark.parametrize("name", ALL)
def test_score_grows_with_what_makes_d_s_loss_on_reals_smaller(name: str) -> None:
    objective = make(name)
    real, fake = -logits(objective, 7).abs(), logits(objective, 8)  # least squares turns at 1
    real.requires_grad_()
    (by_score,) = torch.autograd.grad(objective.score(real).sum(), real)
    (by_loss,) = torch.autograd.grad(objective.d(real, fake)[0].sum(), real)
    assert (by_score * by_loss <= 0).all()
    if objective.probability:
        probability = objective.probability(real).detach()
        np.testing.assert_allclose(probability, sigma(objective.score(real).detach().numpy()), atol=1e-12)


@pytest.mark.parametrize("name", SMOOTHED)
def test_smoothing_is_of_d_alone(name: str) -> None:
    plain, smooth = make(name), make(name, objectives, P, Q)
    real, fake = logits(plain, 9), logits(plain, 10)
    for a, b in zip(plain.d(real, fake), smooth.d(real, fake), strict=True):
        assert not torch.equal(a, b)
    assert torch.equal(plain.g(fake, real), smooth.g(fake, real))
    assert plain.equilibrium != smooth.equilibrium
    assert plain.chance == smooth.chance


@pytest.mark.parametrize(("name", "labels"), LABELLED)
def test_chance(name: str, labels: tuple[float, ...]) -> None:
    objective = make(name, objectives, *labels)
    zeros = torch.zeros(B, objective.heads, dtype=torch.float64)
    losses = float(d_loss(objective, zeros, zeros)), float(g_loss(objective, zeros, zeros))
    assert losses == pytest.approx(objective.chance, abs=1e-12)


@pytest.mark.parametrize(("name", "labels"), LABELLED)
def test_equilibrium(name: str, labels: tuple[float, ...]) -> None:
    """Reals and fakes are the same three images; D's answers to them are trained to the best."""
    objective = make(name, objectives, *labels)
    answers = logits(objective, 11, 3).requires_grad_()

    def losses() -> tuple[Tensor, Tensor]:
        real, fake = answers.repeat_interleave(3, dim=0), answers.repeat(3, 1)  # every pair of images
        return d_loss(objective, real, fake), g_loss(objective, real, fake)

    for _ in range(120):
        (gradient,) = torch.autograd.grad(losses()[0], answers)
        answers.data -= 2 * gradient
    assert float(losses()[0].detach()) == pytest.approx(objective.equilibrium[0], abs=1e-9)
    if name in ("hinge", "wasserstein"):  # many D are as good: the one that answers 0 speaks for them
        answers.data.zero_()
    d, g = (float(loss.detach()) for loss in losses())
    assert (d, g) == pytest.approx(objective.equilibrium, abs=1e-9)


def test_equilibrium_of_the_paper() -> None:
    for name in ("non_saturating", "softmax"):
        assert make(name).equilibrium == pytest.approx((math.log(4), math.log(2)))
    assert make("minimax").equilibrium == pytest.approx((math.log(4), -math.log(2)))


@pytest.mark.parametrize("name", ALL)
def test_only_the_relativistic_average_looks_across_samples(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = make(name)
    real, fake = logits(objective, 12), logits(objective, 13)

    def terms(real: Tensor, fake: Tensor) -> Tensor:
        return torch.stack([*objective.d(real, fake), objective.g(fake, real)])

    together, alone = terms(real, fake), terms(real[2:3], fake[2:3])
    assert torch.allclose(together[:, 2:3], alone) == (name != "relativistic_average")
    monkeypatch.setattr(objectives, "batch_mean", lambda _: torch.tensor(3.0))
    assert torch.equal(terms(real, fake), together) == (name != "relativistic_average")


@pytest.mark.parametrize("name", RELATIVISTIC)
def test_relativistic_losses_ignore_a_constant(name: str) -> None:
    objective = make(name)
    real, fake = logits(objective, 14), logits(objective, 15)
    for loss in (d_loss, g_loss):
        torch.testing.assert_close(loss(objective, real, fake), loss(objective, real + 5, fake + 5))
    with pytest.raises(AssertionError):
        objective.g(fake, None)


# Mutants ---------------------------------------------------------------------------------------

MUTANTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # Labels
    "no smoothing of reals": ("_against(real[:, 0], real_label)", "_against(real[:, 0], 1.0)", SMOOTHED),
    "no smoothing of fakes": ("_against(fake[:, 0], fake_label)", "_against(fake[:, 0], 0.0)", SMOOTHED),
    "labels swapped": (
        "_against(real[:, 0], real_label), _against(fake[:, 0], fake_label)",
        "_against(real[:, 0], fake_label), _against(fake[:, 0], real_label)",
        SMOOTHED,
    ),
    "G smoothed": (
        "lambda fake: _against(fake, 1.0)",
        "lambda fake: _against(fake, 0.9)",
        ("non_saturating",),
    ),
    "saturating G": (
        "lambda fake: _against(fake, 1.0)",
        "lambda fake: -_against(fake, 0.0)",
        ("non_saturating",),
    ),
    "minimax's sign": ("-_against(fake, 0.0)", "_against(fake, 0.0)", ("minimax",)),
    "classes swapped for D": (
        "-log_softmax(real, dim=1)[:, 1], -log_softmax(fake, dim=1)[:, 0]",
        "-log_softmax(real, dim=1)[:, 0], -log_softmax(fake, dim=1)[:, 1]",
        ("softmax",),
    ),
    "classes swapped for G": (
        "return -log_softmax(fake, dim=1)[:, 1]",
        "return -log_softmax(fake, dim=1)[:, 0]",
        ("softmax",),
    ),
    "softmax over the batch": ("dim=1", "dim=0", ("softmax",)),
    "least squares' labels swapped": (
        "(real - 1).square() / 2, fake.square() / 2",
        "real.square() / 2, (fake - 1).square() / 2",
        ("least_squares",),
    ),
    "least squares' G aims at 0": (
        "g=lambda fake: (fake - 1).square()",
        "g=lambda fake: fake.square()",
        ("least_squares",),
    ),
    "least squares unhalved": ("(real - 1).square() / 2", "(real - 1).square()", ("least_squares",)),
    # Signs
    "hinge's reals": ("relu(1 - real)", "relu(1 + real)", ("hinge",)),
    "hinge's fakes": ("relu(1 + fake)", "relu(1 - fake)", ("hinge",)),
    "hinge without relu": ("relu(1 - real)", "1 - real", ("hinge",)),
    "G's sign": ("g=lambda fake: -fake", "g=lambda fake: fake", ("hinge", "wasserstein")),
    "wasserstein's signs": ("(-real, fake)", "(real, -fake)", ("wasserstein",)),
    "D's pair reversed": ("-logsigmoid(real - fake)", "-logsigmoid(fake - real)", ("relativistic_paired",)),
    "G's pair reversed": (
        "real: -logsigmoid(fake - real)",
        "real: -logsigmoid(real - fake)",
        ("relativistic_paired",),
    ),
    "a pair counted twice": (
        "torch.zeros_like(fake)",
        "-logsigmoid(real - fake)",
        ("relativistic_paired",),
    ),
    "averages reversed for D": (
        "-logsigmoid(batch_mean(real) - fake))",
        "-logsigmoid(fake - batch_mean(real)))",
        ("relativistic_average",),
    ),
    "G's real half forgotten": (
        "- logsigmoid(batch_mean(fake) - real)",
        "",
        ("relativistic_average",),
    ),
    "G's real half's sign": (
        "- logsigmoid(batch_mean(fake) - real)",
        "- logsigmoid(real - batch_mean(fake))",
        ("relativistic_average",),
    ),
    "reals and fakes exchanged": (
        "d(real[:, 0], fake[:, 0])",
        "d(fake[:, 0], real[:, 0])",
        ("least_squares", "hinge", "wasserstein", *RELATIVISTIC),
    ),
    "G's reals and fakes exchanged": ("g(fake[:, 0], real[:, 0])", "g(real[:, 0], fake[:, 0])", RELATIVISTIC),
    # Reductions
    "sum for mean": ("return global_mean(x)", "return x.sum()", ("relativistic_average",)),
    "no mean": ("return global_mean(x)", "return x", ("relativistic_average",)),
    "reduced too early": (
        "g(fake[:, 0])",
        "g(fake[:, 0]).mean()",
        tuple(name for name in ONE_HEAD if name not in RELATIVISTIC),
    ),
    "cross-entropy reduced": ('reduction="none"', 'reduction="mean"', SMOOTHED),
    # Detaches
    "the mean detached": (
        "return global_mean(x)",
        "return global_mean(x).detach()",
        ("relativistic_average",),
    ),
    "D's fake of a pair detached": (
        "-logsigmoid(real - fake), torch",
        "-logsigmoid(real - fake.detach()), torch",
        ("relativistic_paired",),
    ),
    "G's fakes detached": (
        "g(fake[:, 0])",
        "g(fake[:, 0].detach())",
        tuple(name for name in ONE_HEAD if name not in RELATIVISTIC),
    ),
    "D's reals detached": ("d(real[:, 0], fake", "d(real[:, 0].detach(), fake", ("hinge", *RELATIVISTIC)),
}
CASES = [pytest.param(m, name, id=f"{name}: {m}") for m, (_, _, names) in MUTANTS.items() for name in names]


@pytest.mark.parametrize(("mutant", "name"), CASES)
def test_the_check_fails_for_a_mutant(mutant: str, name: str) -> None:
    old, new, _ = MUTANTS[mutant]
    module: Any = mutated("objectives", old, new)
    try:
        check(name, module)
    except (AssertionError, RuntimeError):  # a gradient that is not there is a RuntimeError
        return
    pytest.fail("the check did not see the mutant")


@pytest.mark.parametrize("name", ALL)
def test_the_check_passes_for_the_unmutated_text(name: str) -> None:
    check(name, mutated("objectives", "global_mean(x)", "global_mean(x)"))
