"""Multi-layer perceptrons."""

from __future__ import annotations

import math

from torch import Tensor, nn

from mulligan.models import discriminator
from mulligan.models.discriminator import label_planes
from mulligan.models.layers import OUTPUTS, ImageShape, activated, append_labels, initialise
from mulligan.recipe import ConditionKind, MLPDiscriminator, MLPGenerator


class Generator(nn.Module):
    """z ``[B, Z]``, y ``[B]`` → images ``[B, C, H, W]`` in the range of the output's activation."""

    def __init__(self, table: MLPGenerator, latent: int, image_shape: ImageShape, classes: int = 0) -> None:
        super().__init__()
        self.image_shape, self.classes = image_shape, classes
        layers = _hidden(table, latent + classes)
        layers += [nn.Linear(table.hidden[-1], math.prod(image_shape)), OUTPUTS[table.output]()]
        self.layers = nn.Sequential(*layers)
        initialise(self, table.init)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Make one image for each row of z."""
        images: Tensor = self.layers(append_labels(z, y, self.classes))
        return images.view(-1, *self.image_shape)


class Discriminator(discriminator.Discriminator):
    """Images ``[B, C, H, W]``, y ``[B]`` → logits ``[B, heads]``."""

    def __init__(
        self,
        table: MLPDiscriminator,
        image_shape: ImageShape,
        heads: int,
        classes: int = 0,
        conditioning: ConditionKind = "none",
    ) -> None:
        body = nn.Sequential(*_hidden(table, math.prod(image_shape) + label_planes(classes, conditioning)))
        super().__init__(body, table.hidden[-1], heads, classes, conditioning)
        initialise(self, table.init)

    def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return φ ``[B, F]``; every pixel is a channel, and labels come behind the last."""
        return super().features(x.flatten(1), y)


def _hidden(table: MLPGenerator | MLPDiscriminator, width: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for features, norm in zip(table.hidden, table.norms, strict=True):
        layers.append(nn.Linear(width, features))
        layers += activated(table.activation, norm, features, axes=0, eps=table.norm_eps)
        width = features
    return layers
