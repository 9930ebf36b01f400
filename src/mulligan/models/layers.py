"""What all networks share: activations, initialisations, normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mulligan.recipe import Activation, Init, Norm, Output

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
}

OUTPUTS: dict[Output, Callable[[], nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh}

NORMS: dict[Norm, Callable[[int, float], nn.Module | None]] = {
    "none": lambda _features, _eps: None,
    "batch": lambda features, eps: nn.BatchNorm1d(features, eps=eps),
}


def _he_normal(weight: Tensor, fan_in: int) -> None:
    nn.init.normal_(weight, std=math.sqrt(2 / fan_in))


def _inverse_fan_in(weight: Tensor, fan_in: int) -> None:
    nn.init.normal_(weight, std=1 / fan_in)


def _glorot_uniform(weight: Tensor, _fan_in: int) -> None:
    nn.init.xavier_uniform_(weight)


WEIGHT_INITS: dict[Init, Callable[[Tensor, int], None] | None] = {
    "torch": None,  # what each layer's constructor did
    "he-normal": _he_normal,
    "inverse-fan-in": _inverse_fan_in,
    "glorot-uniform": _glorot_uniform,
}


@torch.no_grad()
def initialise(network: nn.Module, init: Init) -> None:
    """Draw the weights of every dense and convolutional layer anew and set its bias to zero.

    Uses torch's global generator; ``build`` forks and seeds it around the construction.
    """
    draw = WEIGHT_INITS[init]
    if draw is None:
        return
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            channels_in = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
            receptive = 1 if isinstance(layer, nn.Linear) else math.prod(layer.kernel_size)
            draw(layer.weight, channels_in * receptive)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
