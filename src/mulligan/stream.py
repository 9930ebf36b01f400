"""Where a run's real images and latents come from; its whole state is a position and a generator."""

from __future__ import annotations

import torch
from torch import Tensor

from mulligan import build, hardware, pixels, seeds
from mulligan.data.order import BatchOrder
from mulligan.distributed import Group
from mulligan.recipe import Recipe


class Stream:
    """Draws batches of reals ``[B, C, H, W]``, in the recipe's range, and latents ``[n, Z]``.

    Args:
        recipe: Gives the batch, its order, the pixel range and the law of z.
        images: uint8 ``[N, C, H, W]`` on the device that trains; of points in a plane, float32.
        labels: int64 ``[N]`` beside them, where the recipe's networks are told of classes; ``[N, P]`` of
            pieces.
        seed: The run's seed.
        purpose: Streams of different purposes share no randomness.
        dtype: Of what is drawn.
        group: Of processes, each of which draws the same and keeps its part; n and shapes are of the part.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: Tensor,
        labels: Tensor | None,
        seed: int,
        purpose: str,
        dtype: torch.dtype = torch.float32,
        group: Group | None = None,
    ) -> None:
        self.group, self.world = group, group.world if group else 1
        self.recipe, self.images, self.labels, self.dtype = recipe, images, labels, dtype
        table = recipe.data
        self.order = BatchOrder(
            len(images), table.batch, seeds.derive(seed, purpose, "order"), table.order, table.last
        )
        self.rng = torch.Generator().manual_seed(seeds.derive(seed, purpose, "latent"))

    def reals(self) -> tuple[Tensor, Tensor | None]:
        """Draw the next batch of reals, and their labels."""
        picks = hardware.send(self._part(self.order.next()), self.images.device)
        batch = pixels.to_range(self.images.index_select(0, picks), *self.recipe.data.pixels, self.dtype)
        return batch, None if self.labels is None else self.labels[picks]

    def whole(self, batches: int) -> bool:
        """Tell whether the next so many batches are of full size."""
        return self.order.whole(batches)

    def latents(self, n: int) -> Tensor:
        """Draw n latents."""
        drawn = build.latents(self.recipe.latent, self.world * n, self.rng, self.dtype)
        return hardware.send(self._part(drawn), self.images.device)

    def uniform(self, *shape: int) -> Tensor:
        """Draw numbers in [0, 1)."""
        drawn = torch.rand(self.world * shape[0], *shape[1:], generator=self.rng, dtype=self.dtype)
        return hardware.send(self._part(drawn), self.images.device)

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers."""
        drawn = torch.randn(self.world * shape[0], *shape[1:], generator=self.rng, dtype=self.dtype)
        return hardware.send(self._part(drawn), self.images.device)

    def _part(self, drawn: Tensor) -> Tensor:
        return self.group.part(drawn) if self.group else drawn

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold to go on from here, bit for bit."""
        return {"position": torch.tensor(self.order.position), "rng": self.rng.get_state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from where ``state`` was taken.

        Raises:
            KeyError, ValueError, RuntimeError: it is no such state.
        """
        where = state["position"]
        if where.shape != () or where.dtype != torch.int64 or not 0 <= int(where) < 2**62:
            raise ValueError(f"the position in the data cannot be {str(where)[:60]!r}")
        self.order.position = int(where)
        self.rng.set_state(state["rng"])
