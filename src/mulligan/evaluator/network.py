"""The evaluator's network: a small classifier whose last hidden layer describes an image."""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

FEATURES = 128
WIDTHS = (32, 64, 96, FEATURES)
SMALL = (16, 32, 48, FEATURES // 2)


class Network(nn.Module):
    """Four blocks of convolutions, a mean over the picture, and one linear layer.

    Args:
        image_shape: (C, H, W), sides of 8 pixels or more.
        classes: K; 0 for a network that describes and does not classify.
        widths: Channels of the four blocks; the last is the number of features.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        widths: tuple[int, int, int, int] = WIDTHS,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = image_shape[0]
        for block, width in enumerate(widths):
            # [B, before, H, W] → [B, width, H/2, W/2]; the first block sees the pixels at full size
            layers += [
                *(_convolution(before, width, stride=1 if block == 0 else 2)),
                *(_convolution(width, width, stride=2 if block == 0 else 1) if block < 3 else ()),
            ]
            before = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], classes) if classes else None

    def features(self, images: Tensor) -> Tensor:
        """Map images in 0..1, ``[B, C, H, W]``, to features at or above 0, ``[B, widths[-1]]``."""
        described: Tensor = self.body(images - 0.5).mean((2, 3))
        return described

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return features ``[B, widths[-1]]`` and logits ``[B, K]``, or None without classes."""
        features = self.features(images)
        return features, None if self.head is None else self.head(features)

    def folded(self) -> Network:
        """Return a copy for evaluation alone: its BatchNorms within the convolutions, laid out for them."""
        copied = copy.deepcopy(self).eval()
        layers: list[nn.Module] = []
        for layer in copied.body:
            if isinstance(layer, nn.BatchNorm2d):
                layers[-1] = fuse_conv_bn_eval(cast(nn.Conv2d, layers[-1]), layer)
            else:
                layers.append(layer)
        copied.body = nn.Sequential(*layers)
        return copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _convolution(before: int, after: int, *, stride: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def untrained(image_shape: tuple[int, int, int]) -> Network:
    """Return a network with random weights: the fallback where nothing is labelled.

    Random convolutions describe small images well enough to compare two sets of them where no
    classifier fits (Naeem et al. 2020, arXiv 2002.09797, section 5, with a random VGG-16).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(image_shape, 0)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network.eval().requires_grad_(False)


def augmented(images: Tensor, rng: torch.Generator) -> Tensor:
    """Turn, scale, shear and shift each image a little: ``[B, C, H, W]``, 0..1."""
    n = len(images)

    def draw(limit: float) -> Tensor:
        return (2 * torch.rand(n, generator=rng) - 1) * limit

    turn, shear, scale = draw(0.2), draw(0.15), 1 + draw(0.12)
    rows = torch.stack(
        [
            torch.stack([scale * turn.cos(), shear - turn.sin(), draw(0.14)], 1),
            torch.stack([turn.sin(), scale * turn.cos(), draw(0.14)], 1),
        ],
        1,
    )
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
