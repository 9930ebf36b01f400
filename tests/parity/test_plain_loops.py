"""The yardstick, measured: the plain loops against NumPy arithmetic that shares nothing with them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from .plain_loops import PLAIN_LOOPS, Trace, Weights

Array = npt.NDArray[np.float64]
Arrays = dict[str, Array]
Shapes = dict[str, tuple[int, ...]]
BATCH = 5


def linear(x: Array, w: Arrays, n: int) -> Array:
    out: Array = x @ w[f"{n}.weight"].T + w[f"{n}.bias"]
    return out


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.2 * x)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def batch_norm(x: Array, w: Arrays, n: int) -> Array:
    normal: Array = (x - x.mean(0)) / np.sqrt(x.var(0) + 0.8)
    return normal * w[f"{n}.weight"] + w[f"{n}.bias"]


def conv(x: Array, w: Arrays, n: int) -> Array:
    kernel = w[f"{n}.weight"]
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(2, 3))
    summed = np.tensordot(windows, kernel, axes=([1, 4, 5], [1, 2, 3]))  # [B, H, W, out]
    return (summed + w[f"{n}.bias"]).transpose(0, 3, 1, 2)


def conv_transpose(x: Array, w: Arrays, n: int) -> Array:
    kernel = w[f"{n}.weight"]
    size, k = x.shape[2], kernel.shape[2]
    out = np.zeros((len(x), kernel.shape[1], 2 * size + k - 2, 2 * size + k - 2))
    for row in range(size):
        for column in range(size):  # every input pixel stamps the kernel, two pixels apart
            stamp = np.tensordot(x[:, :, row, column], kernel, axes=1)
            out[:, :, 2 * row : 2 * row + k, 2 * column : 2 * column + k] += stamp
    return out + w[f"{n}.bias"][:, None, None]


def pool(x: Array) -> Array:
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def dcgan_generate(z: Array, g: Arrays) -> Array:
    h = np.tanh(linear(z, g, 0)).reshape(-1, 128, 6, 6)
    return sigmoid(conv_transpose(conv_transpose(h, g, 1), g, 2))


def dcgan_judge(x: Array, d: Arrays) -> Array:
    h = pool(np.tanh(conv(x.reshape(-1, 1, 28, 28), d, 0)))
    h = pool(np.tanh(conv(h, d, 1))).reshape(len(x), 2048)
    logits = linear(np.tanh(linear(h, d, 2)), d, 3)
    return logits[:, 1] - logits[:, 0]  # a softmax over two classes is a sigmoid of the difference


def batchnorm_generate(z: Array, g: Arrays) -> Array:
    h = leaky(linear(z, g, 0))
    for n in (1, 3, 5):
        h = leaky(batch_norm(linear(h, g, n), g, n + 1))
    return np.tanh(linear(h, g, 7))


class Text(NamedTuple):
    """One tutorial, said again: what the NumPy arithmetic needs to know of it."""

    latent: int
    g_shapes: Shapes
    d_shapes: Shapes
    generate: Callable[[Array, Arrays], Array]
    judge: Callable[[Array, Arrays], Array]
    pixels: Callable[[Array], Array]
    d_scale: float = 1.0
    real_label: float = 1.0
    adam: tuple[float, float, float] = (1e-3, 0.9, 0.999)
    d_first: bool = True
    shares_z: bool = True


def shapes(*layers: tuple[int, ...]) -> Shapes:
    """Weight and bias shapes; a dense layer is (in, out), and batch-norm (size,)."""
    out: Shapes = {}
    for n, layer in enumerate(layers):
        out[f"{n}.weight"] = layer[::-1] if len(layer) == 2 else layer
        out[f"{n}.bias"] = (layer[1] if len(layer) == 2 else layer[0],)
    return out


def unit(x: Array) -> Array:
    return x / 255


def symmetric(x: Array) -> Array:
    return x / 127.5 - 1


TEXTS = {
    "mlp-relu": Text(
        100,
        shapes((100, 128), (128, 784)),
        shapes((784, 128), (128, 1)),
        lambda z, g: sigmoid(linear(relu(linear(z, g, 0)), g, 1)),
        lambda x, d: linear(relu(linear(x, d, 0)), d, 1),
        unit,
    ),
    "mlp-tanh": Text(
        200,
        shapes((200, 600), (600, 784)),
        shapes((784, 600), (600, 1)),
        lambda z, g: sigmoid(linear(np.tanh(linear(z, g, 0)), g, 1)),
        lambda x, d: linear(np.tanh(linear(x, d, 0)), d, 1),
        unit,
        shares_z=False,
    ),
    "dcgan-softmax": Text(
        200,
        # A transposed convolution is [in, out, k, k], so its bias has its second size, not its first.
        shapes((200, 4608), (128, 64, 4, 4), (64, 1, 2, 2)) | {"1.bias": (64,), "2.bias": (1,)},
        shapes((64, 1, 5, 5), (128, 64, 5, 5), (2048, 1024), (1024, 2)),
        dcgan_generate,
        dcgan_judge,
        unit,
        d_scale=0.5,
        d_first=False,
    ),
    "mlp-batchnorm": Text(
        100,
        shapes((100, 128), (128, 256), (256,), (256, 512), (512,), (512, 1024), (1024,), (1024, 784)),
        shapes((784, 512), (512, 256), (256, 1)),
        batchnorm_generate,
        lambda x, d: linear(leaky(linear(leaky(linear(x, d, 0)), d, 1)), d, 2),
        symmetric,
        d_scale=0.5,
        adam=(2e-4, 0.5, 0.999),
        d_first=False,
    ),
    "mlp-smooth": Text(
        100,
        shapes((100, 128), (128, 784)),
        shapes((784, 128), (128, 1)),
        lambda z, g: np.tanh(linear(leaky(linear(z, g, 0)), g, 1)),
        lambda x, d: linear(leaky(linear(x, d, 0)), d, 1),
        symmetric,
        real_label=0.9,
    ),
}


def start(sizes: Shapes, rng: np.random.Generator) -> Weights:
    """Weights of a size that keeps every layer awake; batch-norm scales around 1."""
    out: Weights = {}
    for name, size in sizes.items():
        values = rng.standard_normal(size) / (np.prod(size[1:]) ** 0.5 if len(size) > 1 else 5)
        out[name] = torch.from_numpy(values + (name.endswith("weight") and len(size) == 1))
    return out


def setting(name: str) -> tuple[Weights, Weights, list[Tensor], list[Tensor]]:
    text, rng = TEXTS[name], np.random.default_rng(4)
    g, d = start(text.g_shapes, rng), start(text.d_shapes, rng)
    reals = [torch.from_numpy(rng.integers(0, 256, (BATCH, 1, 28, 28), dtype=np.uint8)) for _ in range(2)]
    latents = [torch.from_numpy(rng.standard_normal((BATCH, text.latent))) for _ in range(4)]
    return g, d, reals, latents


def arrays(weights: Weights) -> Arrays:
    return {name: value.numpy() for name, value in weights.items()}


@pytest.mark.parametrize("name", PLAIN_LOOPS)
def test_two_steps_are_numpys(name: str) -> None:
    """Both losses of two steps, and Adam's updates of a few weights by gradients from finite differences.

    The second step is what tells: there Adam's memory shows in the update, and with it any gradient that
    leaked from one network's loss into the other's update, a wrong beta, and the order of the updates.
    """
    text = TEXTS[name]
    g, d, reals, latents = setting(name)
    traces = [PLAIN_LOOPS[name](g, d, iter(reals), iter(latents), steps) for steps in range(3)]
    gs, ds = [arrays(t.generator) for t in traces], [arrays(t.discriminator) for t in traces]
    zs = [z.numpy() for z in latents]
    label = text.real_label

    def d_loss(step: int) -> float:
        """At the weights of before the step, whatever the order."""
        z = zs[step] if text.shares_z else zs[2 * step]
        real_logit = text.judge(text.pixels(reals[step].numpy().reshape(BATCH, 784).astype(float)), ds[step])
        fake_logit = text.judge(text.generate(z, gs[step]), ds[step])
        on_reals = label * softplus(-real_logit) + (1 - label) * softplus(real_logit)
        return text.d_scale * float(on_reals.mean() + softplus(fake_logit).mean())

    def g_loss(step: int) -> float:
        """Against the discriminator after its update, if that comes first."""
        z = zs[step] if text.shares_z else zs[2 * step + 1]
        judged = text.judge(text.generate(z, gs[step]), ds[step + 1 if text.d_first else step])
        return float(softplus(-judged).mean())

    def slope(loss: Callable[[int], float], step: int, weight: Array) -> float:
        kept, h = weight.flat[0], 1e-5
        weight.flat[0] = kept + h
        above = loss(step)
        weight.flat[0] = kept - h
        below = loss(step)
        weight.flat[0] = kept
        return (above - below) / (2 * h)

    assert traces[2].d_losses == pytest.approx([d_loss(0), d_loss(1)], rel=1e-12)
    assert traces[2].g_losses == pytest.approx([g_loss(0), g_loss(1)], rel=1e-12)

    rate, beta1, beta2 = text.adam
    for loss, weights in ((d_loss, ds), (g_loss, gs)):
        for key in (key for key in weights[0] if key.endswith("weight")):
            m = v = 0.0
            for step in range(2):
                gradient = slope(loss, step, weights[step][key])
                m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient**2
                m_hat, v_hat = m / (1 - beta1 ** (step + 1)), v / (1 - beta2 ** (step + 1))
                moved = weights[step + 1][key].flat[0] - weights[step][key].flat[0]
                assert moved == pytest.approx(-rate * m_hat / (v_hat**0.5 + 1e-8), rel=1e-4), (key, step)


@pytest.mark.parametrize(
    ("name", "d_loss", "g_loss"),
    [
        # All weights nought, but for a discriminator that answers 0.7 to everything. Only that answer can
        # move, by one learning rate, down; where D goes first, G meets it moved, and its loss is larger by
        # 0.001 sigmoid(-0.7). softplus(0.7) is 1.1031860488854578; softplus(-0.7) is 0.7 less.
        ("mlp-relu", 1.1031860488854578 + 0.4031860488854578, 0.4031860488854578 + 0.000332),
        ("mlp-tanh", 1.1031860488854578 + 0.4031860488854578, 0.4031860488854578 + 0.000332),
        ("dcgan-softmax", (1.1031860488854578 + 0.4031860488854578) / 2, 0.4031860488854578),
        ("mlp-batchnorm", (1.1031860488854578 + 0.4031860488854578) / 2, 0.4031860488854578),
        ("mlp-smooth", 1.1031860488854578 * 2 - 0.9 * 0.7, 0.4031860488854578 + 0.000332),
    ],
)
def test_a_blank_game_by_hand(name: str, d_loss: float, g_loss: float) -> None:
    g, d, reals, latents = setting(name)
    g, d = ({key: torch.zeros_like(value) for key, value in w.items()} for w in (g, d))
    last = max(d)
    assert last.endswith("weight")
    d[last.replace("weight", "bias")][-1] = 0.7
    trace = PLAIN_LOOPS[name](g, d, iter(reals), iter(latents), 1)
    assert trace.d_losses == pytest.approx([d_loss], rel=1e-12)
    assert trace.g_losses == pytest.approx([g_loss], abs=5e-7)
    assert all(not value.any() for value in trace.generator.values()), "a blank discriminator taught G"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PLAIN_LOOPS)
def test_what_goes_in_and_what_comes_out(name: str, dtype: torch.dtype) -> None:
    """The caller's weights are copied, their dtype kept, and no batch drawn but those trained on."""
    g, d, reals, latents = setting(name)
    g, d = ({key: value.to(dtype) for key, value in w.items()} for w in (g, d))
    before = [{key: value.clone() for key, value in w.items()} for w in (g, d)]
    left_reals: Iterator[Tensor] = iter(reals)
    left_latents: Iterator[Tensor] = iter([z.to(dtype) for z in latents])
    trace: Trace = PLAIN_LOOPS[name](g, d, left_reals, left_latents, 1)
    assert len(list(left_reals)) == 1
    assert len(list(left_latents)) == (3 if TEXTS[name].shares_z else 2)
    for given, kept, out in ((g, before[0], trace.generator), (d, before[1], trace.discriminator)):
        assert list(out) == list(given)
        for key, value in given.items():
            assert torch.equal(value, kept[key])
            assert out[key].dtype == dtype
            assert not out[key].requires_grad
            if not (name == "mlp-batchnorm" and given is g and key in ("1.bias", "3.bias", "5.bias")):
                assert not torch.equal(out[key], value), f"{key} was not trained"
