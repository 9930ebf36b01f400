"""Penalties on the slope of the discriminator, one value per sample.

A penalty reads the record of D's forward pass and returns ``[B]``; γ times its mean is added to
D's loss. ``s`` is D's score, ``∇`` its gradient by the image and ‖·‖ the Euclidean norm over C, H, W.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

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
        joined: Did one pass of D give both answers? Then one pass back gives both slopes.
    """

    real: Tensor
    fake: Tensor
    real_logits: Tensor
    fake_logits: Tensor
    critic: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    uniform: Callable[..., Tensor]
    joined: bool = False

    @cached_property
    def real_gradient(self) -> Tensor:
        """∇s at the reals, ``[B, C, H, W]``."""
        return self._both[0] if self.joined else _gradient(self.score(self.real_logits), self.real)[0]

    @cached_property
    def fake_gradient(self) -> Tensor:
        """∇s at the fakes, ``[B, C, H, W]``."""
        return self._both[1] if self.joined else _gradient(self.score(self.fake_logits), self.fake)[0]

    @cached_property
    def _both(self) -> tuple[Tensor, ...]:
        # Images do not meet in D, so that the gradient of all scores' sum is each score's own.
        score = torch.cat([self.score(self.real_logits), self.score(self.fake_logits)])
        return _gradient(score, self.real, self.fake)


Penalty = Callable[[Forward], Tensor]


def r1(forward: Forward) -> Tensor:
    """½‖∇s(x)‖² at the reals: Mescheder et al. 2018, arXiv 1801.04406, equation 9, without its γ."""
    return _square(forward.real_gradient) / 2


def r2(forward: Forward) -> Tensor:
    """½‖∇s(x)‖² at the fakes: Mescheder et al. 2018, equation 10, without its γ."""
    return _square(forward.fake_gradient) / 2


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
    return (_square(_gradient(forward.critic(x), x)[0]) + _TINY).sqrt()


def _gradient(score: Tensor, *images: Tensor) -> tuple[Tensor, ...]:
    """∇s by each of some images, of their shapes, with a graph of its own: D is then trained through it."""
    return torch.autograd.grad(score.sum(), images, create_graph=True)


def _square(gradient: Tensor) -> Tensor:
    """``[B, C, H, W] -> [B]``."""
    return gradient.flatten(1).square().sum(dim=1)
