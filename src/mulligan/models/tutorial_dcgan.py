"""The convolutional pair of the `dcgan-softmax` tutorial, for any image size that suits it."""

from __future__ import annotations

from torch import Tensor, nn

from mulligan.errors import UserError
from mulligan.models import discriminator
from mulligan.models.discriminator import label_planes
from mulligan.models.layers import ACTIVATIONS, OUTPUTS, ImageShape, append_labels, initialise
from mulligan.recipe import ConditionKind, TutorialDCGANDiscriminator, TutorialDCGANGenerator


def _check(image_shape: ImageShape) -> None:
    _, height, width = image_shape
    for side in (height, width):
        if side % 4 or side < 16:
            near = max(16, round(side / 4) * 4)
            raise UserError(
                f"kind 'tutorial-dcgan' makes images whose sides are multiples of 4 from 16 on, "
                f"not {height}×{width}: use --size {near}"
            )


class Generator(nn.Module):
    """z ``[B, Z]``, y ``[B]`` → images ``[B, C, H, W]``: 6 → 14 → 28, each side s starting from s/4 − 1."""

    def __init__(
        self, table: TutorialDCGANGenerator, latent: int, image_shape: ImageShape, classes: int = 0
    ) -> None:
        super().__init__()
        _check(image_shape)
        colours, height, width = image_shape
        deep, shallow = table.channels
        self.base = (deep, height // 4 - 1, width // 4 - 1)
        self.classes = classes
        self.dense = nn.Linear(latent + classes, deep * self.base[1] * self.base[2])
        self.activation = ACTIVATIONS[table.activation]()
        self.up1 = nn.ConvTranspose2d(deep, shallow, kernel_size=4, stride=2)  # s/4 − 1 → s/2
        self.up2 = nn.ConvTranspose2d(shallow, colours, kernel_size=2, stride=2)  # s/2 → s
        self.output = OUTPUTS[table.output]()
        initialise(self, table.init)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Make one image for each row of z."""
        maps = self.activation(self.dense(append_labels(z, y, self.classes))).view(-1, *self.base)
        # The tutorial has no activation between its two transposed convolutions.
        images: Tensor = self.output(self.up2(self.up1(maps)))
        return images


class Discriminator(discriminator.Discriminator):
    """Images ``[B, C, H, W]``, y ``[B]`` → logits ``[B, heads]``: 28 → 24 → 12 → 8 → 4, dense, logits."""

    def __init__(
        self,
        table: TutorialDCGANDiscriminator,
        image_shape: ImageShape,
        heads: int,
        classes: int = 0,
        conditioning: ConditionKind = "none",
    ) -> None:
        _check(image_shape)
        colours, height, width = image_shape
        shallow, deep = table.channels
        maps = deep * (height // 4 - 3) * (width // 4 - 3)  # ((s − 4) / 2 − 4) / 2
        act = ACTIVATIONS[table.activation]
        body = nn.Sequential(
            nn.Conv2d(colours + label_planes(classes, conditioning), shallow, kernel_size=5),
            act(),
            nn.AvgPool2d(2),
            nn.Conv2d(shallow, deep, kernel_size=5),
            act(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(maps, table.dense),
            act(),
        )
        super().__init__(body, table.dense, heads, classes, conditioning)
        initialise(self, table.init)
