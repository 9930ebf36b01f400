"""THE step: one update of D and G. The whole algorithm, on one screen.

Three orders of update, after Algorithm 1 of Goodfellow et al. 2014 (arXiv 1406.2661) and what the
tutorials made of it. This is the only place in the package where a GAN's gradients are taken and
its optimisers move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mulligan.augment import instance_noise
from mulligan.objectives import Objective
from mulligan.penalties import Forward, Penalty

Gradients = Sequence[Tensor]


class Source(Protocol):
    """Where real images, latents and all other randomness come from."""

    def reals(self) -> tuple[Tensor, Tensor | None]:
        """Draw the next images ``[B, C, H, W]`` in the recipe's range; labels ``[B]``, ``[B, P]`` or None."""

    def latents(self, n: int) -> Tensor:
        """Draw n latents, ``[n, Z]``."""

    def uniform(self, *shape: int) -> Tensor:
        """Draw numbers in [0, 1)."""

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers."""


@dataclass(frozen=True)
class Knobs:
    """What schedules turn, as it stands in one update.

    Attributes:
        gammas: The weight of each of the GAN's penalties.
        noise: Standard deviation of the instance noise, in the pixels' own units; a tensor where a
            compiled update is to serve for every value.
    """

    gammas: tuple[float | Tensor, ...] = ()
    noise: float | Tensor = 0.0


@dataclass(frozen=True)
class Turn:
    """One network's loss and its gradient, before the network has moved.

    Attributes:
        loss: The scalar that was differentiated, without its graph; over all processes, like the gradients.
        gradients: One tensor for each parameter, in the optimiser's order; none of a compiled update,
            which keeps them to itself.
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
        health: Both losses and the norms of all gradients added up, a scalar: any NaN or infinity
            among them spoils it.
    """

    d: Turn
    g: Turn
    images: int
    health: Tensor


def _of_one_process(tensors: Gradients) -> Gradients:
    return tensors


def _unaugmented(x: Tensor, _source: Source) -> Tensor:
    return x


def _unconstrained(_discriminator: nn.Module) -> None:
    """Leave weights as they are."""


@dataclass(frozen=True)
class GAN:
    """Two networks, their optimisers and the rules of their game."""

    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: Optimizer
    d_optimizer: Optimizer
    objective: Objective
    order: Callable[[GAN, Source, Knobs], Update]  # one of the three below
    d_scale: float = 1.0
    d_steps: int = 1
    shared_noise: bool = False
    pack: int = 1  # images that D judges at once (PacGAN, Lin et al. 2018, arXiv 1712.04086)
    penalties: tuple[Penalty, ...] = ()
    joined: bool = False  # D judges reals and fakes in one pass: the same answers, without BatchNorm
    precision: Callable[[], AbstractContextManager[object]] = nullcontext  # that networks compute in
    augment: Callable[[Tensor, Source], Tensor] = _unaugmented
    constrain: Callable[[nn.Module], None] = _unconstrained  # applied once after D's optimiser
    mean: Callable[[Gradients], Gradients] = _of_one_process  # of each tensor, over all processes

    def step(self, source: Source, knobs: Knobs) -> Update:
        """Make one update of both networks."""
        return self.order(self, source, knobs)


def d_then_g(gan: GAN, source: Source, knobs: Knobs) -> Update:
    """D moves ``d_steps`` times, each on new reals and fakes; then G moves against the new D."""
    images = 0
    for _ in range(gan.d_steps):
        real, y = source.reals()
        images += len(real)
        # G has not moved when its turn comes: with shared noise these fakes, graph and all, serve it too.
        with torch.set_grad_enabled(gan.shared_noise):
            fake = generate(gan, source.latents(len(real)), y)
        d = discriminator_turn(gan, real, fake.detach(), y, source, knobs)
        move_discriminator(gan, d)
    if not gan.shared_noise:
        fake = generate(gan, source.latents(len(real)), y)
    g = generator_turn(gan, real, fake, y, source, knobs)
    move_generator(gan, g)
    return Update(d, g, images, _health(d, g))


def g_then_d(gan: GAN, source: Source, knobs: Knobs) -> Update:
    """G moves first; with shared noise D then sees the very fakes that G was just trained on."""
    real, y = source.reals()
    fake = generate(gan, source.latents(len(real)), y)
    g = generator_turn(gan, real, fake, y, source, knobs)
    move_generator(gan, g)
    images = 0
    for k in range(gan.d_steps):
        if k > 0:
            real, y = source.reals()
        if k > 0 or not gan.shared_noise:
            with torch.no_grad():
                fake = generate(gan, source.latents(len(real)), y)
        images += len(real)
        d = discriminator_turn(gan, real, fake.detach(), y, source, knobs)
        move_discriminator(gan, d)
    return Update(d, g, images, _health(d, g))


def together(gan: GAN, source: Source, knobs: Knobs) -> Update:
    """Both gradients are taken at the same weights before either network moves.

    With ``d_steps`` above 1, D makes the first ones alone.
    """
    images = 0
    for k in range(gan.d_steps):
        real, y = source.reals()
        images += len(real)
        fake = generate(gan, source.latents(len(real)), y)
        d = discriminator_turn(gan, real, fake.detach(), y, source, knobs)
        if k < gan.d_steps - 1:
            move_discriminator(gan, d)
    if not gan.shared_noise:
        fake = generate(gan, source.latents(len(real)), y)
    g = generator_turn(gan, real, fake, y, source, knobs)
    move_discriminator(gan, d)
    move_generator(gan, g)
    return Update(d, g, images, _health(d, g))


def discriminator_turn(
    gan: GAN, real: Tensor, fake: Tensor, y: Tensor | None, source: Source, knobs: Knobs
) -> Turn:
    """D's loss, ``d_scale`` · (mean over reals + mean over fakes) + Σ γ · mean penalty, and its gradient."""
    assert not fake.requires_grad, "D's turn must not reach into G"
    real, fake = look(gan, real, source, knobs), look(gan, fake, source, knobs)
    if gan.penalties:
        real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
    real_logits, fake_logits = judge_both(gan, real, fake, y)
    real_terms, fake_terms = gan.objective.d(real_logits, fake_logits)
    loss = gan.d_scale * (real_terms.mean() + fake_terms.mean())
    if gan.penalties:
        forward = Forward(
            real,
            fake,
            real_logits,
            fake_logits,
            critic=lambda x: gan.objective.score(judge(gan, x, y)),
            score=gan.objective.score,
            uniform=source.uniform,
            joined=gan.joined,
        )
        for penalty, gamma in zip(gan.penalties, knobs.gammas, strict=True):
            loss = loss + gamma * penalty(forward).mean()
    return _turn(gan, loss, gan.d_optimizer, real_logits.detach(), fake_logits)


def generator_turn(
    gan: GAN, real: Tensor, fake: Tensor, y: Tensor | None, source: Source, knobs: Knobs
) -> Turn:
    """G's loss on fakes that carry its graph, the mean over the batch, and its gradient."""
    fake_logits = judge(gan, look(gan, fake, source, knobs), y)
    real_logits = None
    if gan.objective.relativistic:
        with torch.no_grad():
            real_logits = judge(gan, look(gan, real, source, knobs), y)
    loss = gan.objective.g(fake_logits, real_logits).mean()
    return _turn(gan, loss, gan.g_optimizer, real_logits, fake_logits)


def generate(gan: GAN, z: Tensor, y: Tensor | None) -> Tensor:
    """G's images ``[B, C, H, W]``, in z's own precision."""
    with gan.precision():
        images: Tensor = gan.generator(z, y)
    return images.to(z.dtype)


def judge(gan: GAN, x: Tensor, y: Tensor | None) -> Tensor:
    """D's logits ``[B, heads]``, in x's own precision: losses are never computed in less."""
    with gan.precision():
        logits: Tensor = gan.discriminator(x, y)
    return logits.to(x.dtype)


def judge_both(gan: GAN, real: Tensor, fake: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """D's logits of reals and of fakes; ``joined``, one matrix product of twice the rows makes both."""
    if not gan.joined:
        return judge(gan, real, y), judge(gan, fake, y)
    both = judge(gan, torch.cat([real, fake]), None if y is None else torch.cat([y, y]))
    return both[: len(real)], both[len(real) :]


def look(gan: GAN, x: Tensor, source: Source, knobs: Knobs) -> Tensor:
    """Turn images ``[B, C, H, W]`` into what D sees of them: ``[B / pack, pack · C, H, W]``."""
    x = gan.augment(x, source)
    if isinstance(knobs.noise, Tensor) or knobs.noise:
        x = instance_noise(x, knobs.noise, source.normal)
    return x if gan.pack == 1 else x.reshape(len(x) // gan.pack, -1, *x.shape[2:])


def move_discriminator(gan: GAN, turn: Turn) -> None:
    """Let D take its turn, then bring its weights back within their constraint."""
    _move(gan.d_optimizer, turn)
    gan.constrain(gan.discriminator)


def move_generator(gan: GAN, turn: Turn) -> None:
    """Let G take its turn."""
    _move(gan.g_optimizer, turn)


def _move(optimizer: Optimizer, turn: Turn) -> None:
    for parameter, gradient in zip(parameters(optimizer), turn.gradients, strict=True):
        # A second derivative may lie in memory in another order, and torch's fused Adam goes by memory.
        same = gradient.stride() == parameter.stride()
        parameter.grad = gradient if same else torch.empty_like(parameter).copy_(gradient)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _turn(
    gan: GAN, loss: Tensor, optimizer: Optimizer, real_logits: Tensor | None, fake_logits: Tensor
) -> Turn:
    gradients = torch.autograd.grad(loss, parameters(optimizer))
    mean_loss, *means = gan.mean([loss.detach(), *gradients])
    return Turn(mean_loss, means, real_logits, fake_logits.detach())


def _health(d: Turn, g: Turn) -> Tensor:
    norms = torch._foreach_norm([*d.gradients, *g.gradients])
    return torch.stack([d.loss, g.loss, *norms]).sum()


def parameters(optimizer: Optimizer) -> list[Tensor]:
    """Return what an optimiser moves, in its order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
