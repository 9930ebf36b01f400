"""The networks: every kind, at every size, with every way of normalising and conditioning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from mulligan import build, recipe
from mulligan.errors import UserError
from mulligan.models.layers import SIDES, BilinearHalf, doublings, halvings, initialise
from mulligan.models.resnet import Block
from mulligan.recipe import Recipe
from mulligan.step import GAN

KINDS = ("mlp", "tutorial-dcgan", "dcgan", "resnet")
SIZES = (16, 28, 32, 64, 128)
CONDITIONS = ("none", "concat", "projection")
CLASSES, LATENT, BATCH = 3, 5, 4

WIDTHS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [6, 5]},
    "tutorial-dcgan": {"channels": [3, 2]},
    "dcgan": {"width": 2, "max_width": 6},
    "resnet": {"width": 2, "max_width": 6},
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def a_recipe(
    kind: str,
    *,
    condition: str = "none",
    g: dict[str, Any] | None = None,
    d: dict[str, Any] | None = None,
    **tables: Any,
) -> Recipe:
    network = {"kind": kind, **WIDTHS[kind]}
    dense = {"dense": 7} if kind == "tutorial-dcgan" else {}
    table = {
        "name": "test",
        "data": {"pixels": [0.0, 1.0]},
        "latent": {"size": LATENT},
        "generator": network | (g or {}),
        "discriminator": network | dense | (d or {}),
        "condition": {"kind": condition},
    }
    return recipe.from_dict(table | tables)


def labels() -> Tensor:
    return torch.arange(BATCH) % CLASSES


def forward(gan: GAN, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Make images and judge them, under labels."""
    z = torch.randn(BATCH, LATENT, generator=torch.Generator().manual_seed(seed))
    images = gan.generator(z, labels())
    return images, gan.discriminator(images, labels())


def awaken(network: nn.Module) -> None:
    """Give residual branches, which start at zero, something to say."""
    for block in network.modules():
        if isinstance(block, Block):
            nn.init.normal_(next(block.branch[-1].parameters()))


# Every combination -------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_shapes_gradients_and_labels(kind: str, size: int, channels: int, norm: str, condition: str) -> None:
    has_norm = {} if kind == "tutorial-dcgan" else {"norm": norm}
    spectral = {"spectral_norm": (channels == 3) == (norm == "batch")}  # with every other value of each
    chosen = a_recipe(kind, condition=condition, g=has_norm, d=has_norm | spectral)
    gan = build.gan(chosen, (channels, size, size), CLASSES)
    awaken(gan.generator)
    if not chosen.discriminator.spectral_norm:
        awaken(gan.discriminator)
    images, logits = forward(gan)
    assert images.shape == (BATCH, channels, size, size)
    assert logits.shape == (BATCH, 1)
    assert images.isfinite().all()
    assert logits.isfinite().all()

    (logits * torch.randn(BATCH, 1)).sum().backward()  # type: ignore[no-untyped-call]
    for network in (gan.generator, gan.discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name

    for network, x in ((gan.generator, torch.randn(BATCH, LATENT)), (gan.discriminator, images.detach())):
        network.eval()
        one, other = network(x, labels()), network(x, (labels() + 1) % CLASSES)
        assert torch.equal(one, other) == (condition == "none")
        assert condition != "none" or torch.equal(one, network(x))  # y may be None


def test_the_mlp_makes_points_in_the_plane() -> None:
    chosen = a_recipe("mlp", g={"output": "linear"}, data={"pixels": [-3.0, 3.0]})
    images, logits = forward(build.gan(chosen, (2, 1, 1)))
    assert images.shape == (BATCH, 2, 1, 1)
    assert logits.shape == (BATCH, 1)


def test_only_a_linear_output_reaches_every_pixel_range() -> None:
    with pytest.raises(UserError, match=r"outside what generator\.output 'tanh' can reach"):
        a_recipe("dcgan", data={"pixels": [-3.0, 3.0]})


@pytest.mark.parametrize("kind", KINDS)
def test_two_heads(kind: str) -> None:
    gan = build.gan(a_recipe(kind, objective={"kind": "softmax"}), (1, 28, 28))
    assert forward(gan)[1].shape == (BATCH, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_discriminator_takes_any_number_of_channels(kind: str) -> None:
    chosen = a_recipe(kind, condition="concat")
    d = build.discriminator(chosen, (8, 16, 16), heads=1, classes=CLASSES)
    assert d(torch.randn(BATCH, 8, 16, 16), labels()).shape == (BATCH, 1)


# Sizes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        (8, [8]),
        (14, [14]),
        (16, [8, 16]),
        (28, [14, 28]),
        (32, [8, 16, 32]),
        (64, [8, 16, 32, 64]),
        (128, [8, 16, 32, 64, 128]),
    ],
)
def test_depth_follows_the_image(size: int, sides: list[int]) -> None:
    gan = build.gan(a_recipe("dcgan"), (1, size, size))
    seen: list[int] = []
    for layer in gan.generator.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _layer, _x, maps: seen.append(maps.shape[-1]))
    forward(gan)
    assert seen == sides
    strided = [m for m in gan.discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert [conv.out_channels for conv in strided] == doublings(2, 6, len(sides))


@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_halvings(height: int, width: int) -> None:
    try:
        times, *left = halvings("dcgan", (1, height, width))
    except UserError as error:
        assert height not in SIDES or width not in SIDES or height != width
        near = int(str(error).rpartition(" ")[2])
        short = min(height, width)
        assert all(abs(near - short) <= abs(side - short) for side in SIDES)
        halvings("dcgan", (1, near, near))  # what it advises works
    else:
        assert [left[0] << times, left[1] << times] == [height, width]
        assert times >= 1
        assert 4 <= min(left) <= 7


@pytest.mark.parametrize("kind", ["dcgan", "resnet"])
@pytest.mark.parametrize(("size", "near"), [(7, 8), (27, 28), (36, 32), (50, 48), (100, 96)])
def test_a_refused_size_names_the_nearest(kind: str, size: int, near: int) -> None:
    with pytest.raises(UserError, match=rf"kind '{kind}' .* {size}×{size} .* use --size {near}$"):
        build.gan(a_recipe(kind), (1, size, size))


def test_rectangles() -> None:
    images, logits = forward(build.gan(a_recipe("resnet"), (1, 16, 24)))
    assert images.shape == (BATCH, 1, 16, 24)
    assert logits.shape == (BATCH, 1)


# Labels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_projection_by_hand(kind: str) -> None:
    """Miyato and Koyama 2018: f(x, y) = yᵀVφ(x) + ψ(φ(x))."""
    d = build.gan(a_recipe(kind, condition="projection"), (1, 16, 16), CLASSES).discriminator.double()
    x, y = torch.randn(BATCH, 1, 16, 16, dtype=torch.float64), labels()
    weights = dict(d.named_parameters())
    phi = d.features(x)  # type: ignore[operator]
    psi = weights["head.weight"], weights["head.bias"]
    expected = [
        torch.dot(weights["class_head.weight"][y[i]], phi[i]) + torch.dot(psi[0][0], phi[i]) + psi[1][0]
        for i in range(BATCH)
    ]
    torch.testing.assert_close(d(x, y)[:, 0], torch.stack(expected), rtol=0, atol=1e-12)


def test_concat_by_hand() -> None:
    """The generator sees a one-hot behind z; the discriminator one plane for each class, of 0s and 1s."""
    gan = build.gan(a_recipe("dcgan", condition="concat"), (3, 16, 16), CLASSES)
    seen: list[Tensor] = []
    for layer in (gan.generator.get_submodule("layers.0"), gan.discriminator.get_submodule("body.0")):
        layer.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    images, _ = forward(gan)
    hot = torch.eye(CLASSES)[labels()]
    assert torch.equal(seen[0][:, LATENT:], hot)
    assert torch.equal(seen[1][:, :3], images)
    assert torch.equal(seen[1][:, 3:], hot[:, :, None, None].expand(-1, -1, 16, 16))


def test_labels_are_wanted_where_the_recipe_says_so() -> None:
    with pytest.raises(UserError, match=r"condition\.kind 'concat' needs labels, and this data has none"):
        build.gan(a_recipe("mlp", condition="concat"), (1, 16, 16))
    with pytest.raises(UserError, match=r"condition\.kind 'projection' needs one logit, 'softmax' has two"):
        a_recipe("mlp", condition="projection", objective={"kind": "softmax"})


def test_classes_change_nothing_without_a_condition() -> None:
    chosen = a_recipe("dcgan")
    without, told = build.gan(chosen, (1, 16, 16)), build.gan(chosen, (1, 16, 16), CLASSES)
    for one, other in zip(without.discriminator.parameters(), told.discriminator.parameters(), strict=True):
        assert torch.equal(one, other)


# Initialisation and layout -----------------------------------------------------------------------


def test_dcgan_initialisation() -> None:
    """Radford et al. 2016: weights normal(0, 0.02), BatchNorm's normal(1, 0.02), every bias zero."""
    gan = build.gan(a_recipe("dcgan", g={"width": 64, "max_width": 128}), (1, 28, 28))
    for layer in gan.generator.modules():
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d | nn.BatchNorm2d):
            weight = layer.weight.detach()
            assert weight.mean() == pytest.approx(float(isinstance(layer, nn.BatchNorm2d)), abs=0.01)
            assert weight.std() == pytest.approx(0.02, rel=0.25)
            assert layer.bias is None or not layer.bias.any()


def test_batchnorm_keeps_its_ones_under_the_other_initialisations() -> None:
    norm = nn.BatchNorm2d(4)
    initialise(norm, "he-normal")
    assert torch.equal(norm.weight, torch.ones(4))


def test_batchnorm_is_everywhere_but_at_gs_output_and_ds_input() -> None:
    gan = build.gan(a_recipe("dcgan"), (1, 32, 32))
    g, d = ([type(m).__name__ for m in network.children()] for network in layers_of(gan))
    assert g == [
        *("Linear", "Unflatten", "BatchNorm2d", "ReLU"),
        *("ConvTranspose2d", "BatchNorm2d", "ReLU") * 2,
        *("ConvTranspose2d", "Tanh"),
    ]
    assert d == ["Conv2d", "LeakyReLU", *("Conv2d", "BatchNorm2d", "LeakyReLU") * 2, "Flatten"]


def layers_of(gan: GAN) -> tuple[nn.Module, nn.Module]:
    return gan.generator.get_submodule("layers"), gan.discriminator.get_submodule("body")


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
def test_resnet_layout(blocks: int, resample: str) -> None:
    both = {"blocks": blocks, "resample": resample}
    for network in layers_of(build.gan(a_recipe("resnet", g=both, d=both), (1, 32, 32))):
        found = [block for block in network if isinstance(block, Block)]  # type: ignore[attr-defined]
        assert len(found) == 4 * blocks
        assert sum(isinstance(block.skip, nn.Conv2d) for block in found) == 2  # 2 → 4 → 6 → 6 maps
        x = [torch.randn(1, next(c for c in channels(block)), 8, 8) for block in found]
        assert all(torch.equal(block(maps), block.skip(maps)) for block, maps in zip(found, x, strict=True))


def channels(block: Block) -> list[int]:
    return [layer.in_channels for layer in block.branch if isinstance(layer, nn.Conv2d)]


def test_a_resnet_starts_at_the_scale_of_its_input() -> None:
    wide = {"width": 32, "max_width": 128}
    gan = build.gan(a_recipe("resnet", g=wide | {"output": "linear"}, d=wide), (3, 64, 64))
    images = gan.generator(torch.randn(16, LATENT))
    assert 0.5 < images.std() < 3
    plain = torch.randn(16, 3, 1, 1).expand(-1, -1, 64, 64)  # averaging leaves it as it is, unlike noise
    assert 0.3 < gan.discriminator(plain).std() < 3


def test_bilinear_halving_transposes_doubling() -> None:
    """Away from the edges, beyond which the image goes on as it ends."""
    x = torch.randn(1, 1, 12, 12, dtype=torch.float64)
    small = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    small[..., 2, 3] = 1
    doubled = nn.Upsample(scale_factor=2, mode="bilinear")(small)
    torch.testing.assert_close(BilinearHalf()(x)[0, 0, 2, 3], (doubled * x).sum() / 4)


def test_bilinear_halving_works_in_the_precision_of_products() -> None:
    x = torch.rand(1, 2, 8, 6, requires_grad=True)
    half = BilinearHalf()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), BilinearHalf()(x), atol=0.02, rtol=0)
    torch.testing.assert_close(BilinearHalf()(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
def test_the_discriminator_can_be_differentiated_twice(resample: str) -> None:
    """R1 needs it."""
    chosen = a_recipe("resnet", d={"resample": resample, "spectral_norm": True})
    d = build.gan(chosen, (1, 16, 16)).discriminator
    x = torch.randn(BATCH, 1, 16, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    wanted = [p for name, p in d.named_parameters() if "bias" not in name]
    assert all(g.any() for g in torch.autograd.grad(slope.square().sum(), wanted))


# The recipes' own networks -----------------------------------------------------------------------


def test_the_tutorials_networks_layer_by_layer() -> None:
    """The body and the head are the tutorial's own chain of layers."""
    d = build.gan(recipe.read("dcgan-softmax"), (1, 28, 28)).discriminator
    w = dict(d.named_parameters())
    x = torch.rand(2, 1, 28, 28)
    h = nn.functional.avg_pool2d(torch.tanh(conv2d(x, w["body.0.weight"], w["body.0.bias"])), 2)
    h = nn.functional.avg_pool2d(torch.tanh(conv2d(h, w["body.3.weight"], w["body.3.bias"])), 2)
    h = torch.tanh(linear(h.flatten(1), w["body.7.weight"], w["body.7.bias"]))
    torch.testing.assert_close(d(x), linear(h, w["head.weight"], w["head.bias"]))
