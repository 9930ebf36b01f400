"""Names become objects: the only file that knows every axis, one literal dict for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from mulligan import objectives, recipe, seeds, step
from mulligan.models import mlp, tutorial_dcgan
from mulligan.objectives import Objective
from mulligan.recipe import Recipe
from mulligan.step import GAN

ImageShape = tuple[int, int, int]  # C, H, W

OBJECTIVES: dict[str, Callable[[float], Objective]] = {
    "non-saturating": objectives.non_saturating,
    "minimax": objectives.minimax,
    "softmax": objectives.softmax,
}

GENERATORS: dict[str, Callable[[Any, int, ImageShape], nn.Module]] = {
    "mlp": mlp.Generator,
    "tutorial-dcgan": tutorial_dcgan.Generator,
}

DISCRIMINATORS: dict[str, Callable[[Any, ImageShape, int], nn.Module]] = {
    "mlp": mlp.Discriminator,
    "tutorial-dcgan": tutorial_dcgan.Discriminator,
}

ORDERS: dict[str, Callable[[GAN, step.Source], step.Update]] = {
    "d-then-g": step.d_then_g,
    "g-then-d": step.g_then_d,
    "together": step.together,
}

LATENTS: dict[str, Callable[[recipe.Latent, int, torch.Generator, torch.dtype], Tensor]] = {
    "normal": lambda law, n, rng, dtype: torch.randn(n, law.size, generator=rng, dtype=dtype),
    "uniform": lambda law, n, rng, dtype: (
        torch.rand(n, law.size, generator=rng, dtype=dtype).mul_(law.high - law.low).add_(law.low)
    ),
}


def latents(law: recipe.Latent, n: int, rng: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Draw z ``[n, size]``, on the CPU: the same numbers for every device."""
    return LATENTS[law.law](law, n, rng, dtype)


def generator(recipe: Recipe, image_shape: ImageShape) -> nn.Module:
    """Build a generator with weights from torch's global random state."""
    return GENERATORS[recipe.generator.kind](recipe.generator, recipe.latent.size, image_shape)


def gan(
    recipe: Recipe,
    image_shape: ImageShape,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> GAN:
    """Build both networks, initialised from ``seed``, their optimisers and the rules of their game.

    The global random state is left as it was.

    Raises:
        UserError: the networks cannot make images of this shape.
    """
    objective = OBJECTIVES[recipe.objective.kind](recipe.objective.real_label)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.derive(seed, "initialisation"))
        g = generator(recipe, image_shape)
        d = DISCRIMINATORS[recipe.discriminator.kind](recipe.discriminator, image_shape, objective.heads)
    g, d = g.to(device, dtype), d.to(device, dtype)
    return GAN(
        generator=g,
        discriminator=d,
        g_optimizer=_optimizer(g, recipe.optimizer.generator),
        d_optimizer=_optimizer(d, recipe.optimizer.discriminator),
        objective=objective,
        order=ORDERS[recipe.step.order],
        d_scale=recipe.objective.d_scale,
        d_steps=recipe.step.d_steps,
        shared_noise=recipe.step.noise == "shared",
    )


def _optimizer(network: nn.Module, table: recipe.Adam) -> Optimizer:
    parameters = list(network.parameters())
    fused = parameters[0].device.type in ("cpu", "cuda")
    return Adam(parameters, lr=table.lr, betas=(table.beta1, table.beta2), eps=table.eps, fused=fused)
