"""Pixels are uint8 at every boundary; these two functions lead in and out of a network's range."""

from __future__ import annotations

import torch


def to_range(images: torch.Tensor, low: float, high: float, dtype: torch.dtype) -> torch.Tensor:
    """Map uint8 images of any shape, 0..255, linearly onto [low, high]; points, which are floats, stay."""
    if images.is_floating_point():
        return images.to(dtype)
    return images.to(dtype).div_(255 / (high - low)).add_(low)


def to_uint8(images: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Map images in [low, high] onto uint8, 0..255, rounding to nearest and clamping what lies outside."""
    return ((images.float() - low) * (255 / (high - low))).round_().clamp_(0, 255).to(torch.uint8)
