"""Constraints on a discriminator's weights, applied once after its optimiser has moved.

A forward pass changes nothing: however often D is asked in an update, and in whatever order, its
answers are those of one function.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

FIRST_ITERATIONS = 15


class SpectralNorm(nn.Module):
    """W ↦ W / σ(W), σ the largest singular value (Miyato et al. 2018, arXiv 1802.05957, equation 8).

    σ = uᵀWv, where W is taken as a matrix of one row for each output. Gradients flow through W
    alone: u and v are buffers, which only ``iterate`` moves.

    Args:
        weight: W as it is; u and v begin near its singular vectors.
        axis: Of the outputs in W.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, axis: int = 0) -> None:
        super().__init__()
        self.axis = axis
        rows, columns = self._matrix(weight).shape
        self.register_buffer("u", normalize(torch.randn(rows).to(weight), dim=0))
        self.register_buffer("v", torch.zeros(columns).to(weight))
        for _ in range(0 if weight.is_meta else FIRST_ITERATIONS):
            self.iterate(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Divide W by σ."""
        return weight / (self.u @ self._matrix(weight) @ self.v)

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        """Make one power iteration (Algorithm 1): v ← Wᵀu / ‖Wᵀu‖, then u ← Wv / ‖Wv‖."""
        matrix = self._matrix(weight)
        self.v.copy_(normalize(matrix.T @ self.u, dim=0))
        self.u.copy_(normalize(matrix @ self.v, dim=0))

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.axis, 0).flatten(1)


def normalise_spectrally(network: nn.Module) -> None:
    """Put every dense and convolutional layer of a network under ``SpectralNorm``.

    Uses torch's global generator; ``build`` forks and seeds it around the construction.
    """
    for layer in list(network.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight, axis))


def power_iterate(network: nn.Module) -> None:
    """Make one power iteration for every weight under ``SpectralNorm``; a network without is left alone."""
    for weights in network.modules():
        if isinstance(weights, parametrize.ParametrizationList):
            for rule in weights:
                if isinstance(rule, SpectralNorm):
                    rule.iterate(weights.original)


@torch.no_grad()
def clip_weights(network: nn.Module, bound: float) -> None:
    """Clip every parameter to [−bound, bound] (Arjovsky et al. 2017, arXiv 1701.07875, Algorithm 1)."""
    for parameter in network.parameters():
        parameter.clamp_(-bound, bound)
