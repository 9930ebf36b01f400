"""Multi-layer perceptrons."""

from __future__ import annotations

import math

from torch import Tensor, nn

from mulligan.models.layers import ACTIVATIONS, NORMS, OUTPUTS, initialise
from mulligan.recipe import MLPDiscriminator, MLPGenerator


class Generator(nn.Module):
    """z ``[B, Z]`` → images ``[B, C, H, W]`` in the range of the output's activation."""

    def __init__(self, table: MLPGenerator, latent: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape = image_shape
        layers = _hidden(table, latent)
        layers += [nn.Linear(table.hidden[-1], math.prod(image_shape)), OUTPUTS[table.output]()]
        self.layers = nn.Sequential(*layers)
        initialise(self, table.init)

    def forward(self, z: Tensor, _y: Tensor | None = None) -> Tensor:
        """Make one image for each row of z."""
        images: Tensor = self.layers(z)
        return images.view(-1, *self.image_shape)


class Discriminator(nn.Module):
    """Images ``[B, C, H, W]`` → logits ``[B, heads]``."""

    def __init__(self, table: MLPDiscriminator, image_shape: tuple[int, int, int], heads: int) -> None:
        super().__init__()
        layers = _hidden(table, math.prod(image_shape))
        self.layers = nn.Sequential(*layers, nn.Linear(table.hidden[-1], heads))
        initialise(self, table.init)

    def forward(self, x: Tensor, _y: Tensor | None = None) -> Tensor:
        """Judge each image."""
        logits: Tensor = self.layers(x.flatten(1))
        return logits


def _hidden(table: MLPGenerator | MLPDiscriminator, width: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for features, norm in zip(table.hidden, table.norms, strict=True):
        normalise = NORMS[norm](features, table.norm_eps)
        layers.append(nn.Linear(width, features))
        layers += [normalise] if normalise else []
        layers.append(ACTIVATIONS[table.activation]())
        width = features
    return layers
