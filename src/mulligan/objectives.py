"""Objectives: what the discriminator and the generator minimise, one value per sample.

Each objective is a small record of functions of logits. They return values per sample; the step
reduces them. ``D(x)`` is the probability that x is real, ``l`` a logit and σ the
logistic function, so that D(x) = σ(l(x)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax


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
            ``d_scale`` 1.
        relativistic: Does G's loss compare fakes with reals? Else its real logits are None.
    """

    heads: int
    d: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    g: Callable[[Tensor, Tensor | None], Tensor]
    score: Callable[[Tensor], Tensor]
    probability: Callable[[Tensor], Tensor] | None
    equilibrium: tuple[float, float]
    relativistic: bool = False


def non_saturating(real_label: float = 1.0) -> Objective:
    """Goodfellow et al. 2014, arXiv 1406.2661, section 3: G maximises log D(G(z)).

    D minimises −[p log D(x) + (1 − p) log(1 − D(x))] − log(1 − D(G(z))), where p is
    ``real_label``: 1 in the paper, below it one-sided label smoothing (Salimans et al. 2016,
    arXiv 1606.03498, section 3.4).
    """
    return _cross_entropy(real_label, lambda fake: _against(fake, 1.0), -math.log(_best(real_label)))


def minimax(real_label: float = 1.0) -> Objective:
    """Goodfellow et al. 2014, equation 1: G minimises log(1 − D(G(z))) itself.

    Its gradient vanishes where D is sure that fakes are fake, which is why the tutorials use the
    non-saturating form.
    """
    return _cross_entropy(real_label, lambda fake: -_against(fake, 0.0), math.log(1 - _best(real_label)))


def softmax(_real_label: float = 1.0) -> Objective:
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
    )


def _cross_entropy(real_label: float, g: Callable[[Tensor], Tensor], g_equilibrium: float) -> Objective:
    def d(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return _against(real[:, 0], real_label), _against(fake[:, 0], 0.0)

    best = _best(real_label)
    d_equilibrium = -(real_label * math.log(best) + (2 - real_label) * math.log(1 - best))
    return Objective(
        heads=1,
        d=d,
        g=lambda fake, _real: g(fake[:, 0]),
        score=lambda logits: logits[:, 0],
        probability=lambda logits: torch.sigmoid(logits[:, 0]),
        equilibrium=(d_equilibrium, g_equilibrium),
    )


def _against(logits: Tensor, label: float) -> Tensor:
    """Cross-entropy of σ(logits) with a label, computed on the logits so that it never overflows."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label), reduction="none")


def _best(real_label: float) -> float:
    """D's best answer where fakes equal reals: half of what it is told of reals."""
    return real_label / 2
