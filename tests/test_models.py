"""The networks of the recipes: shapes, numbers of weights, initial laws, and what is refused."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mulligan import build, recipe
from mulligan.errors import UserError
from mulligan.step import GAN

MNIST = (1, 28, 28)
SHAPES = [MNIST, (3, 32, 32), (1, 16, 16)]
NAMES = ["mlp-relu", "mlp-tanh", "dcgan-softmax", "mlp-batchnorm", "mlp-smooth"]

# Weights and biases of each layer as the tutorials state the layers, summed by hand.
TOTALS = {
    #                 generator                         discriminator
    "mlp-relu": (12_928 + 101_136, 100_480 + 129),
    "mlp-tanh": (120_600 + 471_184, 471_000 + 601),
    "dcgan-softmax": (926_208 + 131_136 + 257, 1_664 + 204_928 + 2_098_176 + 2_050),
    "mlp-batchnorm": (
        (12_928 + 33_024 + 131_584 + 525_312 + 803_600) + 2 * (256 + 512 + 1024),
        401_920 + 131_328 + 257,
    ),
    "mlp-smooth": (12_928 + 101_136, 100_480 + 129),
}

# Shapes after each layer that has weights.
G_LAYERS: dict[str, list[tuple[int, ...]]] = {
    "mlp-relu": [(128,), (784,)],
    "mlp-tanh": [(600,), (784,)],
    "dcgan-softmax": [(6 * 6 * 128,), (64, 14, 14), (1, 28, 28)],
    "mlp-batchnorm": [(128,), (256,), (256,), (512,), (512,), (1024,), (1024,), (784,)],
    "mlp-smooth": [(128,), (784,)],
}
D_LAYERS: dict[str, list[tuple[int, ...]]] = {
    "mlp-relu": [(128,), (1,)],
    "mlp-tanh": [(600,), (1,)],
    "dcgan-softmax": [(64, 24, 24), (128, 8, 8), (1024,), (2,)],
    "mlp-batchnorm": [(512,), (256,), (1,)],
    "mlp-smooth": [(128,), (1,)],
}

every_recipe = pytest.mark.parametrize("name", NAMES)


def made(name: str, shape: tuple[int, int, int] = MNIST, seed: int = 0, *overrides: str) -> GAN:
    return build.gan(recipe.read(name, overrides), shape, seed=seed)


def latents(name: str, n: int) -> Tensor:
    return build.latents(recipe.read(name).latent, n, torch.Generator().manual_seed(0), torch.float32)


def weighted(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(getattr(m, "weight", None), nn.Parameter)]


def parameter(layer: nn.Module, name: str = "weight") -> Tensor:
    found = getattr(layer, name)
    assert isinstance(found, nn.Parameter)
    return found.detach()


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def shapes_on_the_way(network: nn.Module, x: Tensor) -> list[tuple[int, ...]]:
    """What each layer with weights gives for one image."""
    seen: list[tuple[int, ...]] = []
    hooks = [
        m.register_forward_hook(lambda _m, _x, out: seen.append(tuple(out.shape[1:])))
        for m in weighted(network)
    ]
    network(x)
    for hook in hooks:
        hook.remove()
    return seen


@every_recipe
@pytest.mark.parametrize("shape", SHAPES)
def test_images_and_logits_have_their_shapes(name: str, shape: tuple[int, int, int]) -> None:
    gan = made(name, shape)
    fake = gan.generator(latents(name, 3))
    assert fake.shape == (3, *shape)
    assert gan.discriminator(fake).shape == (3, 2 if name == "dcgan-softmax" else 1)


@every_recipe
def test_totals_are_those_of_the_tutorial(name: str) -> None:
    gan = made(name)
    assert (count(gan.generator), count(gan.discriminator)) == TOTALS[name]


@every_recipe
def test_layers_are_those_of_the_tutorial(name: str) -> None:
    gan = made(name)
    assert shapes_on_the_way(gan.generator, latents(name, 2)) == G_LAYERS[name]
    assert shapes_on_the_way(gan.discriminator, torch.zeros(2, *MNIST)) == D_LAYERS[name]


def test_kernels_of_the_dcgan() -> None:
    gan = made("dcgan-softmax")
    # ConvTranspose2d keeps [in, out, h, w], Conv2d [out, in, h, w].
    ups = [tuple(m.weight.shape) for m in gan.generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    downs = [tuple(m.weight.shape) for m in gan.discriminator.modules() if isinstance(m, nn.Conv2d)]
    dense = [tuple(m.weight.shape) for m in gan.discriminator.modules() if isinstance(m, nn.Linear)]
    assert ups == [(128, 64, 4, 4), (64, 1, 2, 2)]
    assert downs == [(64, 1, 5, 5), (128, 64, 5, 5)]
    assert dense == [(1024, 2048), (2, 1024)]


def test_batchnorm_follows_three_layers_with_the_slip_as_eps() -> None:
    gan = made("mlp-batchnorm")
    kinds = [(type(m), len(parameter(m))) for m in weighted(gan.generator)]
    assert kinds == [
        (nn.Linear, 128),
        (nn.Linear, 256),
        (nn.BatchNorm1d, 256),
        (nn.Linear, 512),
        (nn.BatchNorm1d, 512),
        (nn.Linear, 1024),
        (nn.BatchNorm1d, 1024),
        (nn.Linear, 784),
    ]
    norms = [m for m in gan.generator.modules() if isinstance(m, nn.BatchNorm1d)]
    assert [m.eps for m in norms] == [0.8] * 3
    assert [m.momentum for m in norms] == [0.1] * 3  # PyTorch's own: the 0.8 went elsewhere
    others = [made(name) for name in NAMES if name != "mlp-batchnorm"]
    networks = [gan.discriminator, *(n for g in others for n in (g.generator, g.discriminator))]
    assert not any(isinstance(m, nn.BatchNorm1d) for network in networks for m in network.modules())


@every_recipe
def test_the_output_fills_the_pixel_range_and_no_more(name: str) -> None:
    """Last weights ten thousand times too large drive every pixel to one end or the other."""
    gan = made(name)
    low, high = recipe.read(name).data.pixels
    mild = gan.generator(latents(name, 64)).detach()
    assert low <= float(mild.min()) < (low + high) / 2 < float(mild.max()) <= high
    with torch.no_grad():
        parameter(weighted(gan.generator)[-1]).mul_(1e4)
    wild = gan.generator(latents(name, 64)).detach()
    assert (float(wild.min()), float(wild.max())) == (low, high)


# Initial laws ------------------------------------------------------------------------------------

# Fan-in and fan-out of each layer, by hand: a convolution's are its channels times its kernel.
FANS: dict[str, tuple[list[tuple[int, int]], list[tuple[int, int]]]] = {
    "mlp-relu": ([(100, 128), (128, 784)], [(784, 128), (128, 1)]),
    "mlp-tanh": ([(200, 600), (600, 784)], [(784, 600), (600, 1)]),
    "mlp-smooth": ([(100, 128), (128, 784)], [(784, 128), (128, 1)]),
    "dcgan-softmax": (
        [(200, 4608), (128 * 16, 64 * 16), (64 * 4, 1 * 4)],
        [(1 * 25, 64 * 25), (64 * 25, 128 * 25), (2048, 1024), (1024, 2)],
    ),
}


def layers_and_fans(gan: GAN, name: str) -> list[tuple[Tensor, Tensor, int, int]]:
    found = []
    for network, fans in zip((gan.generator, gan.discriminator), FANS[name], strict=True):
        for layer, (fan_in, fan_out) in zip(weighted(network), fans, strict=True):
            found.append((parameter(layer).double(), parameter(layer, "bias"), fan_in, fan_out))
    return found


def check_normal(weight: Tensor, std: float) -> None:
    """Mean and spread within five standard errors, and a normal's share within one spread."""
    n = weight.numel()
    assert abs(float(weight.mean())) < 5 * std / math.sqrt(n)
    assert abs(float(weight.std()) / std - 1) < 5 / math.sqrt(2 * n)
    inside = float((weight.abs() < std).double().mean())
    assert abs(inside - 0.6827) < 5 * math.sqrt(0.6827 * 0.3173 / n)


def check_uniform(weight: Tensor, bound: float) -> None:
    """Within the bound but close to it, and as wide as a uniform law is."""
    n = weight.numel()
    assert bound * (1 - 20 / n) < float(weight.abs().max()) <= bound * (1 + 1e-6)
    assert abs(float(weight.mean())) < 5 * bound / math.sqrt(3 * n)
    assert abs(float(weight.std()) / (bound / math.sqrt(3)) - 1) < 5 / math.sqrt(n)


@pytest.mark.parametrize("seed", [0, 1])
def test_he_normal(seed: int) -> None:
    for weight, bias, fan_in, _ in layers_and_fans(made("mlp-relu", seed=seed), "mlp-relu"):
        check_normal(weight, math.sqrt(2 / fan_in))
        assert not bias.any()


def test_inverse_fan_in() -> None:
    for weight, bias, fan_in, _ in layers_and_fans(made("mlp-tanh"), "mlp-tanh"):
        check_normal(weight, 1 / fan_in)
        assert not bias.any()


@pytest.mark.parametrize("name", ["mlp-smooth", "dcgan-softmax"])
def test_glorot_uniform(name: str) -> None:
    for weight, bias, fan_in, fan_out in layers_and_fans(made(name), name):
        check_uniform(weight, math.sqrt(6 / (fan_in + fan_out)))
        assert not bias.any()


def test_a_convolution_counts_its_kernel_in_its_fan_in() -> None:
    name = "dcgan-softmax"
    for init, std in (("he-normal", lambda n: math.sqrt(2 / n)), ("inverse-fan-in", lambda n: 1 / n)):
        gan = made(name, MNIST, 0, f"discriminator.init={init}")
        for weight, _, fan_in, _ in layers_and_fans(gan, name)[3:]:
            check_normal(weight, std(fan_in))


def test_pytorchs_own_defaults() -> None:
    """Weights and biases uniform within 1 / sqrt(fan_in); BatchNorm starts as the identity."""
    gan = made("mlp-batchnorm")
    for layer in (*weighted(gan.generator), *weighted(gan.discriminator)):
        weight, bias = parameter(layer).double(), parameter(layer, "bias")
        if isinstance(layer, nn.BatchNorm1d):
            assert bool((weight == 1).all())
            assert not bias.any()
        else:
            bound = 1 / math.sqrt(weight.shape[1])
            check_uniform(weight, bound)
            assert 0 < float(bias.abs().max()) <= bound


# Seeds -------------------------------------------------------------------------------------------


@every_recipe
def test_a_seed_decides_every_weight(name: str) -> None:
    first, again, other = (made(name, (1, 16, 16), seed) for seed in (5, 5, 6))
    for network in ("generator", "discriminator"):
        one = getattr(first, network).state_dict()
        for key, value in getattr(again, network).state_dict().items():
            assert torch.equal(one[key], value)
        for ours, theirs in zip(
            weighted(getattr(first, network)), weighted(getattr(other, network)), strict=True
        ):
            assert isinstance(ours, nn.BatchNorm1d) or not torch.equal(parameter(ours), parameter(theirs))


@every_recipe
def test_the_global_random_state_neither_matters_nor_moves(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = made(name, (1, 16, 16))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = made(name, (1, 16, 16))
    for ours, theirs in zip(first.generator.parameters(), second.generator.parameters(), strict=True):
        assert torch.equal(ours, theirs)


# Sizes -------------------------------------------------------------------------------------------


@given(side=st.integers(8, 128), colours=st.sampled_from([1, 3]))
@settings(max_examples=40)
def test_the_dcgan_makes_its_sizes_and_names_the_nearest_of_others(side: int, colours: int) -> None:
    shape = (colours, side, side)
    right = range(16, 129, 4)
    small = ["generator.channels=[2, 2]", "discriminator.channels=[2, 2]", "discriminator.dense=4"]
    if side in right:
        gan = made("dcgan-softmax", shape, 0, *small)
        fake = gan.generator(latents("dcgan-softmax", 1))
        assert fake.shape == (1, *shape)
        assert gan.discriminator(fake).shape == (1, 2)
        return
    with pytest.raises(UserError, match=re.escape(f"{side}×{side}")) as refused:
        made("dcgan-softmax", shape, 0, *small)
    said = re.search(r"--size (\d+)$", str(refused.value))
    assert said is not None
    assert int(said[1]) in right
    assert abs(int(said[1]) - side) == min(abs(good - side) for good in right)


def test_a_dcgan_makes_oblong_images() -> None:
    gan = made("dcgan-softmax", (1, 16, 24))
    fake = gan.generator(latents("dcgan-softmax", 2))
    assert fake.shape == (2, 1, 16, 24)
    assert gan.discriminator(fake).shape == (2, 2)
    with pytest.raises(UserError, match="16×18"):
        made("dcgan-softmax", (1, 16, 18))
