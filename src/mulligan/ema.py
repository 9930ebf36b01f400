"""A moving average of the generator's weights, by half-life in images seen."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn


class EMA:
    """Weights whose memory of an update halves every ``half_life`` images.

    Averaged generators make steadier pictures (Yazıcı et al. 2019, arXiv 1806.04498). Counting
    in images keeps the average the same whatever the batch.
    """

    def __init__(self, generator: nn.Module, half_life: int) -> None:
        self.half_life = half_life
        self.generator = copy.deepcopy(generator).requires_grad_(False)

    def weight(self, images: int) -> float:
        """Return how far an update that consumed ``images`` moves the average, 0..1."""
        return 1 - math.pow(0.5, images / self.half_life)

    @torch.no_grad()
    def update(self, generator: nn.Module, weight: float | Tensor) -> None:
        """Move towards the generator's weights by ``weight``, 0..1; to be compiled, a scalar tensor."""
        for mine, theirs in zip(self.generator.parameters(), generator.parameters(), strict=True):
            mine.lerp_(theirs, weight)
        for kept, new in zip(self.generator.buffers(), generator.buffers(), strict=True):
            kept.copy_(new)
