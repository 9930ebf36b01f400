"""Objectives: what the discriminator and the generator minimise, one value per sample.

Each objective is a small record of functions of logits. They return values per sample; the step
reduces them. ``D(x)`` is the probability that x is real, ``l`` a logit and σ the
logistic function, so that D(x) = σ(l(x)). Below, lᵣ is a logit of a real image and l_f of a fake.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, logsigmoid, relu

from mulligan.distributed import global_mean


@dataclass(frozen=True)
class Objective:
    """One game between the two networks.

    Attributes:
        heads: Logits per image that the discriminator gives, 1 or 2.
        d: ``(real logits, fake logits) -> (terms of the reals, terms of the fakes)``, each ``[B]``;
            D minimises the mean of the one plus the mean of the other.
        g: ``(fake logits, real logits) -> [B]``; G minimises the mean.
        score: ``logits -> [B]``, higher is more real; what penalties differentiate.
        probability: ``logits -> [B]``, D(x) in 0..1; None where logits have no such meaning.
        equilibrium: (D loss, G loss) where fakes equal reals and D is the best possible, for
            ``d_scale`` 1. Where many D are equally good, it is the one that always answers 0.
        chance: (D loss, G loss) where all logits are 0, as an untrained D's nearly are, for
            ``d_scale`` 1.
        relativistic: Does G's loss compare fakes with reals? Else its real logits are None.
    """

    heads: int
    d: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    g: Callable[[Tensor, Tensor | None], Tensor]
    score: Callable[[Tensor], Tensor]
    probability: Callable[[Tensor], Tensor] | None
    equilibrium: tuple[float, float]
    chance: tuple[float, float]
    relativistic: bool = False


def batch_mean(x: Tensor) -> Tensor:
    """Mean of all of x, differentiable: the one place where a loss or a penalty looks across samples.

    Where several processes share a batch, it is the mean over all of them.
    """
    return global_mean(x)


# Cross-entropy ---------------------------------------------------------------------------------


def non_saturating(real_label: float = 1.0, fake_label: float = 0.0) -> Objective:
    """Goodfellow et al. 2014, arXiv 1406.2661, section 3: G maximises log D(G(z)).

    D minimises −[p log D(x) + (1 − p) log(1 − D(x))] − [q log D(G(z)) + (1 − q) log(1 − D(G(z)))],
    where p is ``real_label`` and q is ``fake_label``: 1 and 0 in the paper. A p below 1 is one-sided
    label smoothing, with a q above 0 it is two-sided (Salimans et al. 2016, arXiv 1606.03498,
    section 3.4, who advise against a q above 0).
    """
    best = _best(real_label, fake_label)
    return _cross_entropy(
        real_label, fake_label, lambda fake: _against(fake, 1.0), -math.log(best), math.log(2)
    )


def minimax(real_label: float = 1.0, fake_label: float = 0.0) -> Objective:
    """Goodfellow et al. 2014, equation 1: G minimises log(1 − D(G(z))) itself.

    Its gradient vanishes where D is sure that fakes are fake, which is why the tutorials use the
    non-saturating form. D's side and its labels are those of the non-saturating form.
    """
    best = _best(real_label, fake_label)
    return _cross_entropy(
        real_label, fake_label, lambda fake: -_against(fake, 0.0), math.log(1 - best), -math.log(2)
    )


def softmax() -> Objective:
    """Cross-entropy of a discriminator with two classes: 1 is real, 0 is fake.

    Same game as the non-saturating one, in l₁ − l₀.
    """

    def d(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return -log_softmax(real, dim=1)[:, 1], -log_softmax(fake, dim=1)[:, 0]

    def g(fake: Tensor, _real: Tensor | None) -> Tensor:
        return -log_softmax(fake, dim=1)[:, 1]

    def score(logits: Tensor) -> Tensor:
        return logits[:, 1] - logits[:, 0]

    return Objective(
        heads=2,
        d=d,
        g=g,
        score=score,
        probability=lambda logits: torch.sigmoid(score(logits)),
        equilibrium=(2 * math.log(2), math.log(2)),
        chance=(2 * math.log(2), math.log(2)),
    )


def _cross_entropy(
    real_label: float,
    fake_label: float,
    g: Callable[[Tensor], Tensor],
    g_equilibrium: float,
    g_chance: float,
) -> Objective:
    def d(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return _against(real[:, 0], real_label), _against(fake[:, 0], fake_label)

    best, labels = _best(real_label, fake_label), real_label + fake_label
    return Objective(
        heads=1,
        d=d,
        g=lambda fake, _real: g(fake[:, 0]),
        score=_only_logit,
        probability=lambda logits: torch.sigmoid(logits[:, 0]),
        equilibrium=(-(labels * math.log(best) + (2 - labels) * math.log(1 - best)), g_equilibrium),
        chance=(2 * math.log(2), g_chance),
    )


def _against(logits: Tensor, label: float) -> Tensor:
    """Cross-entropy of σ(logits) with a label, computed on the logits so that it never overflows."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label), reduction="none")


def _best(real_label: float, fake_label: float) -> float:
    """D's best answer where fakes equal reals: the mean of what it is told of them."""
    return (real_label + fake_label) / 2


# One logit that is no log-odds -----------------------------------------------------------------


def least_squares() -> Objective:
    """LSGAN, Mao et al. 2017, arXiv 1611.04076, equation 9: fakes a = 0, reals b = 1, G's aim c = 1.

    D minimises ½(lᵣ − 1)² + ½l_f² and G ½(l_f − 1)². Where fakes equal reals D's best answer is ½.
    """
    return _critic(
        d=lambda real, fake: ((real - 1).square() / 2, fake.square() / 2),
        g=lambda fake: (fake - 1).square() / 2,
        equilibrium=(1 / 4, 1 / 8),
        chance=(1 / 2, 1 / 2),
    )


def hinge() -> Objective:
    """Lim & Ye 2017, arXiv 1705.02894, as in Miyato et al. 2018, arXiv 1802.05957.

    D minimises max(0, 1 − lᵣ) + max(0, 1 + l_f) and G −l_f. Where fakes equal reals any answers in
    −1..1 are best for D.
    """
    return _critic(
        d=lambda real, fake: (relu(1 - real), relu(1 + fake)),
        g=lambda fake: -fake,
        equilibrium=(2.0, 0.0),
        chance=(2.0, 0.0),
    )


def wasserstein() -> Objective:
    """WGAN, Arjovsky et al. 2017, arXiv 1701.07875, equations 2 and 3, as losses.

    D minimises −lᵣ + l_f and G −l_f. D must be kept Lipschitz by a penalty or by clipping; minus
    its loss then estimates the distance between reals and fakes, up to the Lipschitz constant.
    """
    return _critic(
        d=lambda real, fake: (-real, fake),
        g=lambda fake: -fake,
        equilibrium=(0.0, 0.0),
        chance=(0.0, 0.0),
    )


def _critic(
    d: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    g: Callable[[Tensor], Tensor],
    equilibrium: tuple[float, float],
    chance: tuple[float, float],
) -> Objective:
    """Build an objective from functions of ``[B]``."""
    return Objective(
        heads=1,
        d=lambda real, fake: d(real[:, 0], fake[:, 0]),
        g=lambda fake, _real: g(fake[:, 0]),
        score=_only_logit,
        probability=None,
        equilibrium=equilibrium,
        chance=chance,
    )


# Relativistic: is a real more real than a fake? ------------------------------------------------


def relativistic_paired() -> Objective:
    """RpGAN, Jolicoeur-Martineau 2018, arXiv 1807.00734: each real against one fake.

    D minimises −log σ(lᵣ − l_f) and G −log σ(l_f − lᵣ), as in R3GAN (Huang et al. 2024, arXiv
    2501.05441). A pair has one term, not two: the real carries it and the fake's is 0.
    """
    return _relativistic(
        d=lambda real, fake: (-logsigmoid(real - fake), torch.zeros_like(fake)),
        g=lambda fake, real: -logsigmoid(fake - real),
        value=math.log(2),
    )


def relativistic_average() -> Objective:
    """RaGAN, Jolicoeur-Martineau 2018, arXiv 1807.00734, in its standard-GAN form.

    D minimises −log σ(lᵣ − mean l_f) − log(1 − σ(l_f − mean lᵣ)) and G the same with reals and
    fakes exchanged: sample i of G's loss adds the terms of fake i and real i. The two halves are
    summed, as in the paper; its author's code halves that sum.
    """
    return _relativistic(
        d=lambda real, fake: (-logsigmoid(real - batch_mean(fake)), -logsigmoid(batch_mean(real) - fake)),
        g=lambda fake, real: -logsigmoid(fake - batch_mean(real)) - logsigmoid(batch_mean(fake) - real),
        value=2 * math.log(2),
    )


def _relativistic(
    d: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    g: Callable[[Tensor, Tensor], Tensor],
    value: float,
) -> Objective:
    """Build an objective from functions of ``[B]``; ``value`` is both losses where all logits are equal.

    That is also the best D can do where fakes equal reals.
    """

    def g_of_logits(fake: Tensor, real: Tensor | None) -> Tensor:
        assert real is not None, "a relativistic G needs D's answers to reals"
        return g(fake[:, 0], real[:, 0])

    return Objective(
        heads=1,
        d=lambda real, fake: d(real[:, 0], fake[:, 0]),
        g=g_of_logits,
        score=_only_logit,
        probability=None,
        equilibrium=(value, value),
        chance=(value, value),
        relativistic=True,
    )


def _only_logit(logits: Tensor) -> Tensor:
    return logits[:, 0]
