"""Where a run's real images and latents come from; its whole state is a position and a generator."""

from __future__ import annotations

import torch
from torch import Tensor

from mulligan import build, pixels, seeds
from mulligan.data.order import BatchOrder
from mulligan.recipe import Recipe


class Stream:
    """Draws batches of reals ``[B, C, H, W]``, in the recipe's range, and latents ``[n, Z]``.

    Args:
        recipe: Gives the batch, its order, the pixel range and the law of z.
        images: uint8 ``[N, C, H, W]`` on the device that trains.
        seed: The run's seed.
        purpose: Streams of different purposes share no randomness.
        dtype: Of what is drawn.
    """

    def __init__(
        self, recipe: Recipe, images: Tensor, seed: int, purpose: str, dtype: torch.dtype = torch.float32
    ) -> None:
        self.recipe, self.images, self.dtype = recipe, images, dtype
        table = recipe.data
        self.order = BatchOrder(
            len(images), table.batch, seeds.derive(seed, purpose, "order"), table.order, table.last
        )
        self.rng = torch.Generator().manual_seed(seeds.derive(seed, purpose, "latent"))

    def reals(self) -> Tensor:
        """Draw the next batch of reals."""
        batch = self.images[self.order.next().to(self.images.device)]
        return pixels.to_range(batch, *self.recipe.data.pixels, self.dtype)

    def latents(self, n: int) -> Tensor:
        """Draw n latents."""
        return build.latents(self.recipe.latent, n, self.rng, self.dtype).to(self.images.device)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold to go on from here, bit for bit."""
        return {"position": torch.tensor(self.order.position), "rng": self.rng.get_state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from where ``state`` was taken."""
        self.order.position = int(state["position"])
        self.rng.set_state(state["rng"])
