"""Names become objects: the only file that knows every axis, one literal dict for each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from mulligan import augment, constraints, distributed, objectives, penalties, recipe, schedules, seeds, step
from mulligan.distributed import Group
from mulligan.errors import UserError
from mulligan.hardware import Precision
from mulligan.models import dcgan, mlp, resnet, tutorial_dcgan
from mulligan.models.layers import ImageShape
from mulligan.objectives import Objective
from mulligan.penalties import Penalty
from mulligan.recipe import Recipe
from mulligan.step import GAN, Knobs

MAX_WEIGHTS = 500_000_000

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "non-saturating": objectives.non_saturating,
    "minimax": objectives.minimax,
    "softmax": objectives.softmax,
    "least-squares": objectives.least_squares,
    "hinge": objectives.hinge,
    "wasserstein": objectives.wasserstein,
    "relativistic-paired": objectives.relativistic_paired,
    "relativistic-average": objectives.relativistic_average,
}

PENALTIES: dict[str, Penalty] = {
    "r1": penalties.r1,
    "r2": penalties.r2,
    "gradient_penalty": penalties.gradient_penalty,
    "one_sided_gradient_penalty": penalties.one_sided_gradient_penalty,
    "dragan": penalties.dragan,
}

GENERATORS: dict[str, Callable[[Any, int, ImageShape, int], nn.Module]] = {
    "mlp": mlp.Generator,
    "tutorial-dcgan": tutorial_dcgan.Generator,
    "dcgan": dcgan.Generator,
    "resnet": resnet.Generator,
}

DISCRIMINATORS: dict[str, Callable[[Any, ImageShape, int, int, recipe.ConditionKind], nn.Module]] = {
    "mlp": mlp.Discriminator,
    "tutorial-dcgan": tutorial_dcgan.Discriminator,
    "dcgan": dcgan.Discriminator,
    "resnet": resnet.Discriminator,
}

ORDERS: dict[str, Callable[[GAN, step.Source, step.Knobs], step.Update]] = {
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


def objective(table: recipe.ObjectiveTable) -> Objective:
    """Return the objective a recipe names; only one whose labels are smoothed is told of them."""
    return OBJECTIVES[table.kind](*([table.real_label, table.fake_label] if table.smoothed else []))


def latents(law: recipe.Latent, n: int, rng: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Draw z ``[n, size]``, on the CPU: the same numbers for every device."""
    return LATENTS[law.law](law, n, rng, dtype)


def generator(recipe: Recipe, image_shape: ImageShape, classes: int = 0) -> nn.Module:
    """Build a generator with weights from torch's global random state.

    Raises:
        UserError: it cannot make images of this shape, or wants labels where there are none.
    """
    known = known_classes(recipe, classes)
    return GENERATORS[recipe.generator.kind](recipe.generator, recipe.latent.size, image_shape, known)


def discriminator(recipe: Recipe, image_shape: ImageShape, heads: int, classes: int = 0) -> nn.Module:
    """Build a discriminator with weights from torch's global random state.

    Raises:
        UserError: it cannot judge images of this shape, or wants labels where there are none.
    """
    table, known = recipe.discriminator, known_classes(recipe, classes)
    network = DISCRIMINATORS[table.kind](table, image_shape, heads, known, recipe.condition.kind)
    if table.spectral_norm:
        constraints.normalise_spectrally(network)
    return network


def known_classes(recipe: Recipe, classes: int) -> int:
    """Return how many classes the networks are told of: 0, or all that there are."""
    if recipe.condition.kind == "none":
        return 0
    if classes == 0:
        raise UserError(
            f"condition.kind {recipe.condition.kind!r} needs labels, and this data has none: "
            "sort the images into class folders, or use a recipe without, such as swift"
        )
    return classes


def gan(
    recipe: Recipe,
    image_shape: ImageShape,
    classes: int = 0,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    group: Group | None = None,
) -> GAN:
    """Build both networks, initialised from ``seed``, their optimisers and the rules of their game.

    The global random state is left as it was. ``classes`` is what the data has, or the parts of them; the
    networks hear of them if the recipe's ``condition`` says so. In a ``group`` of processes every one
    builds the same.

    Raises:
        UserError: the networks cannot make images of this shape, want labels where there are none,
            or are larger than any machine this is for.
    """
    check_size(recipe, image_shape, classes)
    game = objective(recipe.objective)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.derive(seed, "initialisation"))
        g = generator(recipe, image_shape, classes)
        d = discriminator(recipe, _seen(recipe, image_shape), game.heads, classes)
    # Channels last: a convolution over few channels is otherwise ten times slower on a CPU.
    for network in (g, d):
        if group:
            distributed.synchronise(network)
        network.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    made = GAN(
        generator=g,
        discriminator=d,
        g_optimizer=_optimizer(g, recipe.optimizer.generator),
        d_optimizer=_optimizer(d, recipe.optimizer.discriminator),
        objective=game,
        order=ORDERS[recipe.step.order],
        d_scale=recipe.objective.d_scale,
        d_steps=recipe.step.d_steps,
        shared_noise=recipe.step.noise == "shared",
        pack=recipe.step.pack,
        penalties=tuple(PENALTIES[name] for name in recipe.penalty.used),
        joined=_joined(recipe),
        augment=_augmentation(recipe),
        constrain=_constraint(recipe),
    )
    return replace(made, mean=group.mean) if group else made


def _joined(recipe: Recipe) -> bool:
    """Tell whether D may judge reals and fakes in one pass, and whether that is faster.

    BatchNorm would mix them; of R1 and R2, one alone wants the slope at its half only; and where
    both networks' gradients are taken at the same weights, G's turn can use D's pass over the fakes.
    """
    slopes = {"r1", "r2"} & set(recipe.penalty.used)
    return not recipe.discriminator.normalised and len(slopes) != 1 and recipe.step.order != "together"


def _seen(recipe: Recipe, image_shape: ImageShape) -> ImageShape:
    """Return the shape of what D judges at once."""
    colours, height, width = image_shape
    return recipe.step.pack * colours, height, width


def check_size(recipe: Recipe, image_shape: ImageShape, classes: int = 0) -> None:
    """Refuse networks of absurd size, or for other images, before anything is allocated.

    Raises:
        UserError: as ``gan`` does.
    """
    with torch.device("meta"):
        networks = [
            generator(recipe, image_shape, classes),
            discriminator(recipe, _seen(recipe, image_shape), 1, classes),
        ]
    weights = sum(p.numel() for network in networks for p in network.parameters())
    if weights > MAX_WEIGHTS:
        raise UserError(
            f"the networks have {weights:,} weights, more than {MAX_WEIGHTS:,}: use smaller widths"
        )


def precision(name: Precision, device: torch.device | str) -> Callable[[], AbstractContextManager[object]]:
    """Return the context that networks compute in: weights stay float32 in ``bf16``, products do not."""
    if name == "exact":
        return nullcontext
    kind = torch.device(device).type
    return lambda: torch.autocast(kind, torch.bfloat16, cache_enabled=False)  # weights move between uses


def knobs(recipe: Recipe, images: int) -> Knobs:
    """Return what the recipe's schedules say after so many images, but for the optimisers'."""
    return Knobs(
        gammas=tuple(schedules.value(weight, images) for weight in recipe.penalty.used.values()),
        noise=schedules.value(recipe.augment.noise, images),
    )


def set_rates(optimizer: Optimizer, table: recipe.Adam, images: int) -> None:
    """Give an optimiser the learning rate and β₂ of the moment."""
    for group in optimizer.param_groups:
        group["lr"] = schedules.value(table.lr, images)
        group["betas"] = (table.beta1, schedules.value(table.beta2, images))


def _augmentation(recipe: Recipe) -> Callable[[Tensor, step.Source], Tensor]:
    policies, range_ = recipe.augment.policy, recipe.data.pixels
    return lambda x, source: augment.augment(x, policies, source.uniform, range_)


def _constraint(recipe: Recipe) -> Callable[[nn.Module], None]:
    bound = recipe.constraint.clip
    return (lambda network: constraints.clip_weights(network, bound)) if bound else constraints.power_iterate


def _optimizer(network: nn.Module, table: recipe.Adam) -> Optimizer:
    parameters = list(network.parameters())
    fused = parameters[0].device.type in ("cpu", "cuda")
    optimizer = Adam(parameters, eps=table.eps, fused=fused)
    set_rates(optimizer, table, images=0)
    return optimizer
