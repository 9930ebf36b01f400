"""Images from a generator: the only way they are made.

Image i of seed s is the same whether it is drawn alone or among ten thousand. Matrix products of
different sizes round differently, so latents come in fixed chunks, every chunk is run whole, and
what was not asked for is cut off.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mulligan import build, distributed, pixels, seeds
from mulligan.conditions import Conditions
from mulligan.distributed import Group
from mulligan.models.layers import many_hot
from mulligan.recipe import Recipe

CHUNK = 256
RECALIBRATION_CHUNKS = 8

Images = npt.NDArray[np.uint8]  # of points in a plane, float32


class Sampler:
    """Draws images from a trained generator.

    Args:
        generator: A generator in evaluation mode, as ``for_sampling`` returns it.
        recipe: Gives the law of z and the pixel range.
        conditions: What the generator was told of.
        group: The processes that draw ``sample`` and ``chunks`` together, all of them the same call.
    """

    def __init__(
        self, generator: nn.Module, recipe: Recipe, conditions: Conditions, group: Group | None = None
    ) -> None:
        self.generator, self.recipe, self.conditions, self.group = generator, recipe, conditions, group

    def sample(self, n: int, seed: int = 0, labels: Sequence[int] | None = None) -> Images:
        """Draw images 0..n-1 of a seed: uint8 ``[n, C, H, W]``; see `Conditions.labels` for their classes."""
        return np.concatenate(list(self.chunks(n, seed, labels)))

    def chunks(self, n: int, seed: int = 0, labels: Sequence[int] | None = None) -> Iterator[Images]:
        """Draw the same images a chunk at a time, so that any number fits in memory."""
        wanted = self.conditions.labels(n, labels)

        def whole(chunk: int) -> Tensor:
            of_chunk = None if wanted is None else wanted[chunk * CHUNK : (chunk + 1) * CHUNK]
            y = self._told(of_chunk, min(CHUNK, n - chunk * CHUNK), seed, chunk)
            return torch.from_numpy(self._render_whole(self._latents(seed, chunk), y))

        for number, drawn in enumerate(distributed.spread(self.group, math.ceil(n / CHUNK), whole)):
            yield drawn.numpy()[: n - number * CHUNK]

    def interpolate(self, between: int, seed: int = 0, label: int | None = None, keys: int = 8) -> Images:
        """Walk through ``keys`` latents of a seed and back to the first: uint8 ``[keys * between, C, H, W]``.

        Normal latents are walked on the sphere (slerp, White 2016, arXiv 1609.04468), since a
        straight line between two of them passes through norms the generator never saw; uniform
        ones on a straight line, which stays in their box. A conditional generator keeps to one label,
        the first without ``label``; from one part of it to another the way is straight.
        """
        first = self.conditions.labels(1, None if label is None else [label])
        wanted = None if first is None else np.repeat(first, keys)
        z, y = self._corners(keys, seed, wanted)
        ways = [(i, (i + 1) % keys) for i in range(keys)]
        return self._walk(z, y, ways, torch.arange(between, dtype=torch.float64) / between)

    def walks(self, n: int, steps: int, seed: int = 0) -> Images:
        """Walk between ``n`` pairs of latents as ``interpolate`` does: uint8 ``[n, steps, C, H, W]``.

        A conditional generator keeps to one label in each walk, i mod K in walk i.
        """
        wanted = self.conditions.labels(n)
        z, y = self._corners(2 * n, seed, None if wanted is None else np.repeat(wanted, 2))
        ways = [(2 * i, 2 * i + 1) for i in range(n)]
        drawn = self._walk(z, y, ways, torch.linspace(0, 1, steps, dtype=torch.float64))
        return drawn.reshape(n, steps, *drawn.shape[1:])

    @torch.no_grad()
    def render(self, z: Tensor, y: Tensor | None = None) -> Images:
        """Turn latents ``[n, Z]`` and what G is told of them into uint8 ``[n, C, H, W]``."""
        weights = next(self.generator.parameters())
        z, y = z.to(weights.device, weights.dtype), None if y is None else y.to(weights.device)
        images = self.generator(z, y)
        if self.recipe.generator.output != "linear":
            images = pixels.to_uint8(images, *self.recipe.data.pixels)
        drawn: Images = images.cpu().numpy()
        return drawn

    def _latents(self, seed: int, chunk: int) -> Tensor:
        rng = torch.Generator().manual_seed(seeds.derive(seed, "sample", chunk))
        return build.latents(self.recipe.latent, CHUNK, rng, torch.float32)

    def _corners(
        self, n: int, seed: int, labels: npt.NDArray[np.int64] | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the latents of images 0..n-1, and what G is told of them, ``[n, total]``."""
        chunks = range(math.ceil(n / CHUNK))
        z = torch.cat([self._latents(seed, chunk) for chunk in chunks])[:n]
        told = []
        for chunk in chunks:
            some = None if labels is None else labels[chunk * CHUNK : (chunk + 1) * CHUNK]
            y = self._told(some, min(CHUNK, n - chunk * CHUNK), seed, chunk)
            if y is not None:
                told.append(many_hot(y, self.conditions.total).float())
        return z, torch.cat(told) if told else None

    def _told(self, labels: npt.NDArray[np.int64] | None, n: int, seed: int, chunk: int) -> Tensor | None:
        rng = torch.Generator().manual_seed(seeds.derive(seed, "part", chunk))
        return self.conditions.told(labels, n, rng)

    def _walk(self, z: Tensor, y: Tensor | None, ways: list[tuple[int, int]], t: Tensor) -> Images:
        """Walk each way, from one row of z and of y to another: uint8 ``[ways * t, C, H, W]``."""
        spherical = self.recipe.latent.law == "normal"
        z = z.double()
        path = torch.stack([_between(z[a], z[b], s, spherical=spherical) for a, b in ways for s in t]).float()
        if y is not None:
            y = torch.stack([torch.lerp(y[a], y[b], s.float()) for a, b in ways for s in t])
        return self._render_all(path, y)

    def _render_all(self, z: Tensor, y: Tensor | None) -> Images:
        return np.concatenate(
            [
                self._render_whole(z[i : i + CHUNK], None if y is None else y[i : i + CHUNK])[: len(z) - i]
                for i in range(0, len(z), CHUNK)
            ]
        )

    def _render_whole(self, z: Tensor, y: Tensor | None) -> Images:
        """Render a whole chunk, filled up where it is short: uint8 ``[CHUNK, C, H, W]``."""
        z = torch.cat([z, z[:1].expand(CHUNK - len(z), -1)])
        y = None if y is None else torch.cat([y, y[:1].expand(CHUNK - len(y), *y.shape[1:])])
        return self.render(z, y)


def _between(a: Tensor, b: Tensor, t: Tensor, *, spherical: bool) -> Tensor:
    if not spherical:
        return torch.lerp(a, b, t)
    angle = torch.acos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if torch.sin(angle) < 1e-6:  # the same, or opposite: there is no one way round
        return torch.lerp(a, b, t)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def for_sampling(generator: nn.Module, recipe: Recipe, conditions: Conditions) -> nn.Module:
    """Return a copy in evaluation mode, its BatchNorm statistics measured anew on the latents' law.

    In training they are moving averages of weights that have since moved, and under an EMA they
    belong to other weights altogether. The generator that was given is left untouched.
    """
    ready = copy.deepcopy(generator).requires_grad_(False)
    ready.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as it will be when loaded: the same bits
    norms = [layer for layer in ready.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if norms:
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over all batches
        rng = torch.Generator().manual_seed(seeds.derive(0, "recalibration"))
        weights = next(ready.parameters())
        with torch.no_grad():
            for _ in range(RECALIBRATION_CHUNKS):
                z = build.latents(recipe.latent, CHUNK, rng, torch.float32)
                y = conditions.told(conditions.labels(CHUNK), CHUNK, rng)
                ready.train()(
                    z.to(weights.device, weights.dtype), None if y is None else y.to(weights.device)
                )
    return ready.eval()
