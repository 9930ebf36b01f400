"""THE step: one update of D and G. The whole algorithm, on one screen.

Three orders of update, after Algorithm 1 of Goodfellow et al. 2014 (arXiv 1406.2661) and what the
tutorials made of it. This is the only place in the package where a GAN's gradients are taken and
its optimisers move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mulligan.objectives import Objective

Gradients = Sequence[Tensor]


class Source(Protocol):
    """Where real images and latents come from."""

    def reals(self) -> Tensor:
        """Draw the next batch of real images, ``[B, C, H, W]`` in the recipe's range."""

    def latents(self, n: int) -> Tensor:
        """Draw n latents, ``[n, Z]``."""


@dataclass(frozen=True)
class Turn:
    """One network's loss and its gradient, before the network has moved.

    Attributes:
        loss: The scalar that was differentiated, without its graph.
        gradients: One tensor for each parameter, in the optimiser's order.
        real_logits: D's answers to the reals it saw, ``[B, heads]``; None in a turn without reals.
        fake_logits: D's answers to the fakes, ``[B, heads]``.
    """

    loss: Tensor
    gradients: Gradients
    real_logits: Tensor | None
    fake_logits: Tensor


@dataclass(frozen=True)
class Update:
    """What one update of both networks saw.

    Attributes:
        d: D's last turn.
        g: G's turn.
        images: Real images that D consumed.
    """

    d: Turn
    g: Turn
    images: int


def _one_process(_gradients: Gradients) -> None:
    """Leave gradients as they are."""


@dataclass(frozen=True)
class GAN:
    """Two networks, their optimisers and the rules of their game."""

    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: Optimizer
    d_optimizer: Optimizer
    objective: Objective
    order: Callable[[GAN, Source], Update]  # one of the three below
    d_scale: float = 1.0
    d_steps: int = 1
    shared_noise: bool = False
    reduce_gradients: Callable[[Gradients], None] = _one_process  # averages over processes, in place

    def step(self, source: Source) -> Update:
        """Make one update of both networks."""
        return self.order(self, source)


def d_then_g(gan: GAN, source: Source) -> Update:
    """D moves ``d_steps`` times, each on new reals and fakes; then G moves against the new D."""
    images = 0
    for _ in range(gan.d_steps):
        real = source.reals()
        images += len(real)
        # G has not moved when its turn comes: with shared noise these fakes, graph and all, serve it too.
        with torch.set_grad_enabled(gan.shared_noise):
            fake = gan.generator(source.latents(len(real)))
        d = discriminator_turn(gan, real, fake.detach())
        move(gan, gan.d_optimizer, d)
    if not gan.shared_noise:
        fake = gan.generator(source.latents(len(real)))
    g = generator_turn(gan, real, fake)
    move(gan, gan.g_optimizer, g)
    return Update(d, g, images)


def g_then_d(gan: GAN, source: Source) -> Update:
    """G moves first; with shared noise D then sees the very fakes that G was just trained on."""
    real = source.reals()
    fake = gan.generator(source.latents(len(real)))
    g = generator_turn(gan, real, fake)
    move(gan, gan.g_optimizer, g)
    images = 0
    for k in range(gan.d_steps):
        if k > 0:
            real = source.reals()
        if k > 0 or not gan.shared_noise:
            with torch.no_grad():
                fake = gan.generator(source.latents(len(real)))
        images += len(real)
        d = discriminator_turn(gan, real, fake.detach())
        move(gan, gan.d_optimizer, d)
    return Update(d, g, images)


def together(gan: GAN, source: Source) -> Update:
    """Both gradients are taken at the same weights before either network moves.

    With ``d_steps`` above 1, D makes the first ones alone.
    """
    images = 0
    for k in range(gan.d_steps):
        real = source.reals()
        images += len(real)
        fake = gan.generator(source.latents(len(real)))
        d = discriminator_turn(gan, real, fake.detach())
        if k < gan.d_steps - 1:
            move(gan, gan.d_optimizer, d)
    if not gan.shared_noise:
        fake = gan.generator(source.latents(len(real)))
    g = generator_turn(gan, real, fake)
    move(gan, gan.d_optimizer, d)
    move(gan, gan.g_optimizer, g)
    return Update(d, g, images)


def discriminator_turn(gan: GAN, real: Tensor, fake: Tensor) -> Turn:
    """D's loss on reals and fakes, ``d_scale`` · (mean of the one + mean of the other), and its gradient."""
    assert not fake.requires_grad, "D's turn must not reach into G"
    real_logits, fake_logits = gan.discriminator(real), gan.discriminator(fake)
    real_terms, fake_terms = gan.objective.d(real_logits, fake_logits)
    loss = gan.d_scale * (real_terms.mean() + fake_terms.mean())
    return Turn(loss.detach(), _gradients(loss, gan.d_optimizer), real_logits.detach(), fake_logits.detach())


def generator_turn(gan: GAN, real: Tensor, fake: Tensor) -> Turn:
    """G's loss on fakes that carry its graph, the mean over the batch, and its gradient."""
    fake_logits = gan.discriminator(fake)
    real_logits = gan.discriminator(real) if gan.objective.relativistic else None
    loss = gan.objective.g(fake_logits, real_logits).mean()
    return Turn(loss.detach(), _gradients(loss, gan.g_optimizer), real_logits, fake_logits.detach())


def move(gan: GAN, optimizer: Optimizer, turn: Turn) -> None:
    """Let one network take its turn."""
    gan.reduce_gradients(turn.gradients)
    for parameter, gradient in zip(_parameters(optimizer), turn.gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _gradients(loss: Tensor, optimizer: Optimizer) -> Gradients:
    return torch.autograd.grad(loss, _parameters(optimizer))


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
