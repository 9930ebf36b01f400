"""All that a run is at one moment: what the loop moves, and what a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mulligan import build, checkpoint
from mulligan.checkpoint import Checkpoint
from mulligan.data.dataset import Dataset
from mulligan.ema import EMA
from mulligan.recipe import Recipe
from mulligan.sampler import Sampler, for_sampling
from mulligan.step import GAN, Update
from mulligan.stream import Stream


@dataclass
class State:
    """A run in motion.

    Attributes:
        stream: Feeds the training step.
        probe: Feeds measurements on fresh batches, which thus leave training's bits alone.
        images: Reals that D has consumed.
        steps: Updates made.
        seconds: Time spent training, over all sessions.
        update: What the last update saw.
    """

    recipe: Recipe
    seed: int
    gan: GAN
    ema: EMA | None
    stream: Stream
    probe: Stream
    about_data: dict[str, Any]
    images: int = 0
    steps: int = 0
    seconds: float = 0.0
    update: Update | None = None

    def advance(self) -> Update:
        """Make one update of everything that training moves."""
        self.update = self.gan.step(self.stream)
        self.images += self.update.images
        self.steps += 1
        if self.ema:
            self.ema.update(self.gan.generator, self.update.images)
        return self.update

    def sampler(self) -> Sampler:
        """Return a sampler of the generator as it is now, averaged if the recipe asks for it."""
        generator = self.ema.generator if self.ema else self.gan.generator
        return Sampler(for_sampling(generator, self.recipe), self.recipe)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that must be saved to go on bit for bit, and to sample without going on."""
        parts: dict[str, dict[str, Tensor]] = {
            "generator": self.gan.generator.state_dict(),
            "discriminator": self.gan.discriminator.state_dict(),
            "g_optimizer": checkpoint.pack_optimizer(self.gan.g_optimizer),
            "d_optimizer": checkpoint.pack_optimizer(self.gan.d_optimizer),
            "stream": self.stream.state(),
            "probe": self.probe.state(),
        }
        if self.ema:
            parts["ema"] = self.ema.generator.state_dict()
        # What samples is the generator again but for averaged weights and recalibrated BatchNorm.
        sampling = self.sampler().generator.state_dict()
        parts["sampler"] = {k: v for k, v in sampling.items() if not torch.equal(v, parts["generator"][k])}
        return {f"{part}.{name}": tensor for part, group in parts.items() for name, tensor in group.items()}

    def meta(self) -> dict[str, Any]:
        """What a checkpoint says of itself in JSON."""
        return {
            "images": self.images,
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "seed": self.seed,
            "data": self.about_data,
            "recipe": self.recipe.model_dump(mode="json", exclude_none=True),
        }

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint of the same recipe and data."""
        self.gan.generator.load_state_dict(saved.part("generator"))
        self.gan.discriminator.load_state_dict(saved.part("discriminator"))
        checkpoint.unpack_optimizer(self.gan.g_optimizer, saved.part("g_optimizer"))
        checkpoint.unpack_optimizer(self.gan.d_optimizer, saved.part("d_optimizer"))
        self.stream.restore(saved.part("stream"))
        self.probe.restore(saved.part("probe"))
        if self.ema:
            self.ema.generator.load_state_dict(saved.part("ema"))
        self.images, self.steps = saved.meta["images"], saved.meta["steps"]
        self.seconds = saved.meta["seconds"]


def begin(
    recipe: Recipe,
    dataset: Dataset,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> State:
    """Build a run at its first moment.

    Raises:
        UserError: the recipe cannot train on this data.
    """
    held_out = recipe.data.holdout if dataset.has_validation_head else 0
    images = torch.from_numpy(dataset.images[held_out:]).to(device)
    gan = build.gan(recipe, dataset.image_shape, seed=seed, device=device, dtype=dtype)
    return State(
        recipe=recipe,
        seed=seed,
        gan=gan,
        ema=EMA(gan.generator, recipe.ema.half_life) if recipe.ema.half_life else None,
        stream=Stream(recipe, images, seed, "train", dtype),
        probe=Stream(recipe, images, seed, "probe", dtype),
        about_data={
            "name": dataset.name,
            "sha256": dataset.sha256,
            "images": len(images),
            "image_shape": list(dataset.image_shape),
            "class_names": list(dataset.class_names),
        },
    )
