"""A moving average of the generator's weights, by half-life in images seen."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """Weights whose memory of an update halves every ``half_life`` images.

    Averaged generators make steadier pictures (Yazıcı et al. 2019, arXiv 1806.04498). Counting
    in images keeps the average the same whatever the batch.
    """

    def __init__(self, generator: nn.Module, half_life: int) -> None:
        self.half_life = half_life
        self.generator = copy.deepcopy(generator).requires_grad_(False)

    @torch.no_grad()
    def update(self, generator: nn.Module, images: int) -> None:
        """Move towards the generator's weights after an update that consumed ``images``."""
        weight = 1 - 0.5 ** (images / self.half_life)
        torch._foreach_lerp_(list(self.generator.parameters()), list(generator.parameters()), weight)
        for mine, theirs in zip(self.generator.buffers(), generator.buffers(), strict=True):
            mine.copy_(theirs)
