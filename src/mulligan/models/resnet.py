"""Residual networks without normalisation, after Mescheder et al. 2018 and R3GAN.

The layout is that of Mescheder, Geiger and Nowozin 2018 (arXiv 1801.04406, supplement): full
pre-activation blocks, a 1×1 convolution on the skip where widths change, resampling between blocks
and never within. Their branches are multiplied by 0.1; here, as in R3GAN (Huang et al. 2024, arXiv
2501.05441, after Fixup, Zhang et al. 2019, arXiv 1901.09321), the last convolution of every branch
starts at zero, and so every block as its skip. Resampling is nearest, as in the one, or bilinear, as
in the other.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from mulligan.models import discriminator
from mulligan.models.discriminator import label_planes
from mulligan.models.layers import (
    DOUBLES,
    HALVES,
    OUTPUTS,
    ImageShape,
    activated,
    append_labels,
    doublings,
    halvings,
    initialise,
    on_meta,
)
from mulligan.recipe import ConditionKind, ResNetDiscriminator, ResNetGenerator


class Block(nn.Module):
    """skip(x) + branch(x): maps ``[B, width_in, H, W]`` → ``[B, width_out, H, W]``.

    The branch is (activation, 3×3 convolution) twice; the skip is x itself, or a 1×1 convolution.
    """

    def __init__(self, table: ResNetGenerator | ResNetDiscriminator, width_in: int, width_out: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *activated(table.activation, table.norm, width_in, axes=2),
            nn.Conv2d(width_in, width_out, kernel_size=3, padding=1, bias=table.norm == "none"),
            *activated(table.activation, table.norm, width_out, axes=2),
            nn.Conv2d(width_out, width_out, kernel_size=3, padding=1),
        )
        self.skip = nn.Identity() if width_in == width_out else nn.Conv2d(width_in, width_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the skip."""
        maps: Tensor = self.skip(x) + self.branch(x)
        return maps


class Generator(nn.Module):
    """z ``[B, Z]``, y ``[B]`` → images ``[B, C, H, W]``: 7 → 14 → 28, or 4 → 8 → 16 → 32."""

    def __init__(
        self, table: ResNetGenerator, latent: int, image_shape: ImageShape, classes: int = 0
    ) -> None:
        super().__init__()
        times, *sides = halvings(table.kind, image_shape)
        widths = doublings(table.width, table.max_width, times + 1)[::-1]  # the smallest maps' first
        base = (widths[0], *sides)
        self.classes = classes
        layers: list[nn.Module] = [nn.Linear(latent + classes, math.prod(base)), nn.Unflatten(1, base)]
        for deep, shallow in pairwise(widths):  # widths change where maps are small
            layers += _blocks(table, [*[deep] * table.blocks, shallow])
            layers.append(DOUBLES[table.resample]())
        layers += _blocks(table, [widths[-1]] * (table.blocks + 1))
        layers += activated(table.activation, table.norm, widths[-1], axes=2)
        layers.append(nn.Conv2d(widths[-1], image_shape[0], kernel_size=3, padding=1))
        self.layers = nn.Sequential(*layers, OUTPUTS[table.output]())
        initialise(self, table.init)
        _start_as_skips(self, zero=True)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Make one image for each row of z."""
        images: Tensor = self.layers(append_labels(z, y, self.classes))
        return images


class Discriminator(discriminator.Discriminator):
    """Images ``[B, C, H, W]``, y ``[B]`` → logits ``[B, heads]``: 28 → 14 → 7, or 32 → 16 → 8 → 4."""

    def __init__(
        self,
        table: ResNetDiscriminator,
        image_shape: ImageShape,
        heads: int,
        classes: int = 0,
        conditioning: ConditionKind = "none",
    ) -> None:
        times, height, width = halvings(table.kind, image_shape)
        widths = doublings(table.width, table.max_width, times + 1)
        colours = image_shape[0] + label_planes(classes, conditioning)
        layers: list[nn.Module] = [nn.Conv2d(colours, widths[0], kernel_size=3, padding=1)]
        layers += _blocks(table, [widths[0]] * (table.blocks + 1))
        for shallow, deep in pairwise(widths):
            layers.append(HALVES[table.resample]())
            layers += _blocks(table, [shallow, *[deep] * table.blocks])
        layers += activated(table.activation, table.norm, widths[-1], axes=2)
        body = nn.Sequential(*layers, nn.Flatten())
        super().__init__(body, widths[-1] * height * width, heads, classes, conditioning)
        initialise(self, table.init)
        _start_as_skips(self, zero=not table.spectral_norm)  # zero has no direction to normalise


def _blocks(table: ResNetGenerator | ResNetDiscriminator, widths: list[int]) -> list[nn.Module]:
    """Chain blocks from each width to the next."""
    return [Block(table, width_in, width_out) for width_in, width_out in pairwise(widths)]


@torch.no_grad()
def _start_as_skips(network: nn.Module, *, zero: bool) -> None:
    """Give every skip the variance of its input, and set the end of every branch to zero."""
    if on_meta(network):
        return
    for block in network.modules():
        if isinstance(block, Block):
            if isinstance(block.skip, nn.Conv2d):  # no rectifier halves what it sees: no factor 2
                nn.init.normal_(block.skip.weight, std=1 / math.sqrt(block.skip.in_channels))
            end = block.branch[-1]
            if zero and isinstance(end, nn.Conv2d):
                nn.init.zeros_(end.weight)
