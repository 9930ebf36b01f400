"""The DCGAN of Radford et al. 2016 (arXiv 1511.06434), its depth set by the size of the images.

The paper's guidelines, section 3: strided and transposed convolutions for all resampling, BatchNorm
everywhere but at G's output and D's input, no hidden dense layers. Kernels are 4×4 where the paper
has 5×5, as in most later code: a stride of 2 divides 4, so that every pixel is painted by equally many.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from mulligan.models import discriminator
from mulligan.models.discriminator import label_planes
from mulligan.models.layers import (
    OUTPUTS,
    ImageShape,
    activated,
    append_labels,
    doublings,
    halvings,
    initialise,
)
from mulligan.recipe import ConditionKind, DCGANDiscriminator, DCGANGenerator


class Generator(nn.Module):
    """z ``[B, Z]``, y ``[B]`` → images ``[B, C, H, W]``: 7 → 14 → 28, or 4 → 8 → 16 → 32."""

    def __init__(self, table: DCGANGenerator, latent: int, image_shape: ImageShape, classes: int = 0) -> None:
        super().__init__()
        times, *sides = halvings(table.kind, image_shape)
        widths = doublings(table.width, table.max_width, times)[::-1]  # the smallest maps' first
        base = (widths[0], *sides)
        bias = table.norm == "none"  # a normalisation would only subtract it again
        self.classes = classes
        layers = [nn.Linear(latent + classes, math.prod(base), bias=bias), nn.Unflatten(1, base)]
        layers += activated(table.activation, table.norm, widths[0], axes=2)
        for deep, shallow in pairwise(widths):
            layers.append(nn.ConvTranspose2d(deep, shallow, kernel_size=4, stride=2, padding=1, bias=bias))
            layers += activated(table.activation, table.norm, shallow, axes=2)
        layers.append(nn.ConvTranspose2d(widths[-1], image_shape[0], kernel_size=4, stride=2, padding=1))
        self.layers = nn.Sequential(*layers, OUTPUTS[table.output]())
        initialise(self, table.init)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Make one image for each row of z."""
        images: Tensor = self.layers(append_labels(z, y, self.classes))
        return images


class Discriminator(discriminator.Discriminator):
    """Images ``[B, C, H, W]``, y ``[B]`` → logits ``[B, heads]``: 28 → 14 → 7, or 32 → 16 → 8 → 4."""

    def __init__(
        self,
        table: DCGANDiscriminator,
        image_shape: ImageShape,
        heads: int,
        classes: int = 0,
        conditioning: ConditionKind = "none",
    ) -> None:
        times, height, width = halvings(table.kind, image_shape)
        widths = doublings(table.width, table.max_width, times)
        bias = table.norm == "none"
        colours = image_shape[0] + label_planes(classes, conditioning)
        layers: list[nn.Module] = [nn.Conv2d(colours, widths[0], kernel_size=4, stride=2, padding=1)]
        layers += activated(table.activation, "none", widths[0], axes=2)
        for shallow, deep in pairwise(widths):
            layers.append(nn.Conv2d(shallow, deep, kernel_size=4, stride=2, padding=1, bias=bias))
            layers += activated(table.activation, table.norm, deep, axes=2)
        body = nn.Sequential(*layers, nn.Flatten())
        super().__init__(body, widths[-1] * height * width, heads, classes, conditioning)
        initialise(self, table.init)
