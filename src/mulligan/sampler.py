"""Images from a generator: the only way they are made.

Image i of seed s is the same whether it is drawn alone or among ten thousand. Matrix products of
different sizes round differently, so latents come in fixed chunks, every chunk is run whole, and
what was not asked for is cut off.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mulligan import build, pixels, seeds
from mulligan.recipe import Recipe

CHUNK = 256
RECALIBRATION_CHUNKS = 16

Images = npt.NDArray[np.uint8]


class Sampler:
    """Draws images from a trained generator.

    Args:
        generator: A generator in evaluation mode, as ``for_sampling`` returns it.
        recipe: Gives the law of z and the pixel range.
    """

    def __init__(self, generator: nn.Module, recipe: Recipe) -> None:
        self.generator, self.recipe = generator, recipe

    def sample(self, n: int, seed: int = 0) -> Images:
        """Draw images 0..n-1 of a seed: uint8 ``[n, C, H, W]``."""
        return np.concatenate(list(self.chunks(n, seed)))

    def chunks(self, n: int, seed: int = 0) -> Iterator[Images]:
        """Draw the same images a chunk at a time, so that any number fits in memory."""
        for chunk in range(-(-n // CHUNK)):
            yield self.render(self._latents(seed, chunk))[: n - chunk * CHUNK]

    def interpolate(self, between: int, seed: int = 0, keys: int = 8) -> Images:
        """Walk through ``keys`` latents of a seed and back to the first: uint8 ``[keys * between, C, H, W]``.

        Normal latents are walked on the sphere (slerp, White 2016, arXiv 1609.04468), since a
        straight line between two of them passes through norms the generator never saw; uniform
        ones on a straight line, which stays in their box.
        """
        corners = self._latents(seed, 0)[:keys].double()
        path = []
        for a, b in zip(corners, corners.roll(-1, 0), strict=True):
            for t in torch.arange(between, dtype=torch.float64) / between:
                path.append(_between(a, b, t, spherical=self.recipe.latent.law == "normal"))
        steps = torch.stack(path).float()
        return np.concatenate(
            [self._render_padded(steps[i : i + CHUNK]) for i in range(0, len(steps), CHUNK)]
        )

    @torch.no_grad()
    def render(self, z: Tensor) -> Images:
        """Turn latents ``[n, Z]`` into uint8 images ``[n, C, H, W]``."""
        weights = next(self.generator.parameters())
        images = self.generator(z.to(weights.device, weights.dtype))
        return pixels.to_uint8(images, *self.recipe.data.pixels).cpu().numpy()

    def _latents(self, seed: int, chunk: int) -> Tensor:
        rng = torch.Generator().manual_seed(seeds.derive(seed, "sample", chunk))
        return build.latents(self.recipe.latent, CHUNK, rng, torch.float32)

    def _render_padded(self, z: Tensor) -> Images:
        padding = z[:1].expand(CHUNK - len(z), -1)
        return self.render(torch.cat([z, padding]))[: len(z)]


def _between(a: Tensor, b: Tensor, t: Tensor, *, spherical: bool) -> Tensor:
    if not spherical:
        return torch.lerp(a, b, t)
    angle = torch.acos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if angle < 1e-6:
        return torch.lerp(a, b, t)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def for_sampling(generator: nn.Module, recipe: Recipe) -> nn.Module:
    """Return a copy in evaluation mode, its BatchNorm statistics measured anew on the latents' law.

    In training they are moving averages of weights that have since moved, and under an EMA they
    belong to other weights altogether. The generator that was given is left untouched.
    """
    ready = copy.deepcopy(generator).requires_grad_(False)
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
                ready.train()(z.to(weights.device, weights.dtype))
    return ready.eval()
