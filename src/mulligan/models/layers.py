"""What all networks share: sizes, labels, normalisation, activations, initialisations, resampling."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from mulligan.errors import UserError
from mulligan.recipe import Activation, Init, Norm, Output, Resample

ImageShape = tuple[int, int, int]  # C, H, W

# Sizes -----------------------------------------------------------------------------------------

SIDES = sorted(base << halvings for base in (4, 5, 6, 7) for halvings in range(1, 11))


def halvings(kind: str, image_shape: ImageShape) -> tuple[int, int, int]:
    """Halve an image's sides until the shorter is below 8: how often, the height and width left.

    28 → 14 → 7 and 32 → 16 → 8 → 4: the depth of a convolutional network follows its images.

    Raises:
        UserError: a side is odd on the way, or there was nothing to halve.
    """
    _, height, width = image_shape
    short = min(height, width)
    times = (short // 4).bit_length() - 1  # short / 2^times lies in [4, 8)
    if times < 1 or height % (1 << times) or width % (1 << times):
        near = min(SIDES, key=lambda side: abs(side - short))
        raise UserError(
            f"kind {kind!r} halves the sides of its images until 4 to 7 pixels are left, "
            f"and {height}×{width} cannot be halved so: use --size {near}"
        )
    return times, height >> times, width >> times


def doublings(width: int, max_width: int, count: int) -> list[int]:
    """Return the numbers of maps at ``count`` sizes, the largest size first."""
    return [min(width << i, max_width) for i in range(count)]


# Labels ----------------------------------------------------------------------------------------


def append_labels(x: Tensor, y: Tensor | None, classes: int) -> Tensor:
    """Put labels y ``[B]`` behind the channels of x ``[B, C, ...]`` as one-hot planes: ``[B, C + K, ...]``.

    Labels ``[B, L]`` are several for each image, and numbers ``[B, K]`` how much of each class. Without
    classes, x is returned as it is and y is not looked at.
    """
    if classes == 0:
        return x
    assert y is not None, "a network that was built for labels needs them"
    hot = many_hot(y, classes).to(x.dtype).view(-1, classes, *[1] * (x.dim() - 2))
    return torch.cat([x, hot.expand(-1, -1, *x.shape[2:])], dim=1)


def many_hot(y: Tensor, classes: int) -> Tensor:
    """Return how much of each class images have, ``[B, K]``: of labels ``[B]`` or ``[B, L]``, or as it is."""
    if y.is_floating_point():
        return y
    hot = one_hot(y, classes)
    return hot if y.dim() == 1 else hot.sum(1)


# Normalisation and activation ------------------------------------------------------------------

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky-relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
}

OUTPUTS: dict[Output, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "linear": nn.Identity,
}

# (features, eps, axes of each feature: 0 behind a dense layer, 2 behind a convolution)
NORMS: dict[Norm, Callable[[int, float, int], nn.Module | None]] = {
    "none": lambda _features, _eps, _axes: None,
    "batch": lambda features, eps, axes: (nn.BatchNorm2d if axes else nn.BatchNorm1d)(features, eps=eps),
}


def activated(
    activation: Activation, norm: Norm, features: int, *, axes: int, eps: float = 1e-5
) -> list[nn.Module]:
    """Return the activation behind its normalisation, if there is one."""
    normalise = NORMS[norm](features, eps, axes)
    return [*([normalise] if normalise else []), ACTIVATIONS[activation]()]


# Initialisation --------------------------------------------------------------------------------


def _he_normal(weight: Tensor, fan_in: int) -> None:
    nn.init.normal_(weight, std=math.sqrt(2 / fan_in))


def _inverse_fan_in(weight: Tensor, fan_in: int) -> None:
    nn.init.normal_(weight, std=1 / fan_in)


def _glorot_uniform(weight: Tensor, _fan_in: int) -> None:
    nn.init.xavier_uniform_(weight)


def _dcgan(weight: Tensor, _fan_in: int) -> None:
    nn.init.normal_(weight, std=0.02)


WEIGHT_INITS: dict[Init, Callable[[Tensor, int], None] | None] = {
    "torch": None,  # what each layer's constructor did
    "he-normal": _he_normal,
    "inverse-fan-in": _inverse_fan_in,
    "glorot-uniform": _glorot_uniform,
    "dcgan": _dcgan,  # Radford et al. 2016, arXiv 1511.06434, section 4
}

# BatchNorm's weights start at one, but for:
NORM_INITS: dict[Init, Callable[[Tensor], object]] = {
    "dcgan": lambda weight: nn.init.normal_(weight, mean=1, std=0.02),  # as in that paper's code
}


def on_meta(network: nn.Module) -> bool:
    """Have its weights no values? Drawing them there imports torch's compiler, in a second or two."""
    return any(parameter.is_meta for parameter in network.parameters())


@torch.no_grad()
def initialise(network: nn.Module, init: Init) -> None:
    """Draw the weights of every dense and convolutional layer anew and set its bias to zero.

    Uses torch's global generator; ``build`` forks and seeds it around the construction. On the meta
    device nothing is done.
    """
    draw = WEIGHT_INITS[init]
    if draw is None or on_meta(network):
        return
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            channels_in = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
            receptive = 1 if isinstance(layer, nn.Linear) else math.prod(layer.kernel_size)
            draw(layer.weight, channels_in * receptive)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and init in NORM_INITS:
            NORM_INITS[init](layer.weight)


# Resampling ------------------------------------------------------------------------------------


class BilinearHalf(nn.Module):
    """Maps ``[B, C, H, W]`` → ``[B, C, H/2, W/2]`` under a triangle of 4×4 pixels.

    The triangle, 1 3 3 1 eighths each way, is that of bilinear doubling; without it, bilinear halving
    is 2×2 averaging. Outside it is as at the edge. In sums, which every device has in every precision.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Halve the sides."""
        for axis in (2, 3):
            half = x.shape[axis] // 2
            even, odd = x.reshape(*x.shape[:axis], half, 2, *x.shape[axis + 1 :]).unbind(axis + 1)
            first, last = even.narrow(axis, 0, 1), odd.narrow(axis, -1, 1)
            before = torch.cat([first, odd.narrow(axis, 0, half - 1)], axis)
            after = torch.cat([even.narrow(axis, 1, half - 1), last], axis)
            x = (before + after + 3 * (even + odd)) / 8
        return x


DOUBLES: dict[Resample, Callable[[], nn.Module]] = {
    "nearest": lambda: nn.Upsample(scale_factor=2, mode="nearest"),
    "bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
}

HALVES: dict[Resample, Callable[[], nn.Module]] = {
    "nearest": lambda: nn.AvgPool2d(2),  # the transpose of nearest doubling
    "bilinear": BilinearHalf,
}
