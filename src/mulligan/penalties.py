"""Penalties on the slope of the discriminator, one value per sample.

A penalty reads the record of D's forward pass and returns ``[B]``; γ times its mean is added to
D's loss. ``s`` is D's score, ``∇`` its gradient by the image and ‖·‖ the Euclidean norm over C, H, W.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu

from mulligan.objectives import batch_mean

_TINY = 1e-12  # under the root: its derivative at a slope of 0 is then 0, not NaN


@dataclass(frozen=True)
class Forward:
    """D's forward pass: what it saw and what it said.

    Attributes:
        real: Reals that D saw, after augmentation and packing, ``[B, C, H, W]``; for ``r1`` it
            requires grad.
        fake: Fakes that D saw, likewise; for ``r2`` it requires grad.
        real_logits: D's answers, ``[B, heads]``, with their graph back to ``real``.
        fake_logits: D's answers, ``[B, heads]``, with their graph back to ``fake``.
        critic: ``images [B, C, H, W] -> s [B]``, the labels of the batch bound.
        score: ``logits -> s [B]``.
        uniform: ``uniform(*shape)`` draws in [0, 1) from the run's own generator, on the images' device.
    """

    real: Tensor
    fake: Tensor
    real_logits: Tensor
    fake_logits: Tensor
    critic: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    uniform: Callable[..., Tensor]


Penalty = Callable[[Forward], Tensor]


def r1(forward: Forward) -> Tensor:
    """½‖∇s(x)‖² at the reals: Mescheder et al. 2018, arXiv 1801.04406, equation 9, without its γ."""
    return _square(_gradient(forward.score(forward.real_logits), forward.real)) / 2


def r2(forward: Forward) -> Tensor:
    """½‖∇s(x)‖² at the fakes: Mescheder et al. 2018, equation 10, without its γ."""
    return _square(_gradient(forward.score(forward.fake_logits), forward.fake)) / 2


def gradient_penalty(forward: Forward) -> Tensor:
    """(‖∇s(x̂)‖ − 1)², WGAN-GP: Gulrajani et al. 2017, arXiv 1704.00028, equation 3.

    x̂ = ε·real + (1 − ε)·fake, with one uniform ε per sample (Algorithm 1).
    """
    return (_slope(forward, _between(forward)) - 1).square()


def one_sided_gradient_penalty(forward: Forward) -> Tensor:
    """max(0, ‖∇s(x̂)‖ − 1)²: a slope below 1 costs nothing.

    Gulrajani et al. 2017, section 4; as WGAN-LP, Petzka et al. 2018, arXiv 1709.08894.
    """
    return relu(_slope(forward, _between(forward)) - 1).square()


def dragan(forward: Forward) -> Tensor:
    """(‖∇s(x + δ)‖ − 1)² around the reals: Kodali et al. 2017, arXiv 1705.07215.

    The paper's δ is Gaussian. Here, as in its authors' code, δ = ½·std·u with a uniform u in [0, 1)
    for each pixel and one std, that of all pixels of the batch without Bessel's correction. Their
    code then takes a random point between x and x + δ; this takes x + δ itself.
    """
    x = forward.real.detach()
    std = batch_mean((x - batch_mean(x)).square()).sqrt()
    return (_slope(forward, x + std / 2 * forward.uniform(*x.shape)) - 1).square()


def _between(forward: Forward) -> Tensor:
    real, fake = forward.real.detach(), forward.fake.detach()
    epsilon = forward.uniform(len(real), 1, 1, 1)
    return epsilon * real + (1 - epsilon) * fake


def _slope(forward: Forward, x: Tensor) -> Tensor:
    """‖∇s‖ at images ``[B, C, H, W]`` that D has not seen yet, ``[B]``."""
    x = x.requires_grad_(True)
    return (_square(_gradient(forward.critic(x), x)) + _TINY).sqrt()


def _gradient(score: Tensor, x: Tensor) -> Tensor:
    """∇s, of x's shape, with a graph of its own: D's weights are then trained through it."""
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return gradient


def _square(gradient: Tensor) -> Tensor:
    """``[B, C, H, W] -> [B]``."""
    return gradient.flatten(1).square().sum(dim=1)
