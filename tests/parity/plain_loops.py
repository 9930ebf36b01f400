"""The five tutorials as five plain PyTorch scripts: the yardstick that the recipes are measured by.

Each function below is one tutorial, written straight from its text, and says everything it does on the
spot: nothing is shared between them but a few type names, so that each can be read, and checked against
its text, alone. They are slow and simple on purpose, and know nothing of the library.

What they have in common:

- ``generator`` and ``discriminator`` are the initial weights, in the dtype to compute in. Keys number the
  layers that have weights, in forward order: "0.weight", "0.bias", "1.weight", ... They are copied.
- ``reals`` yields uint8 images [B, 1, 28, 28]. Every discriminator update draws one batch.
- ``latents`` yields z [B, size], already of the tutorial's law and in the weights' dtype, in the order in
  which the tutorial uses them.
- The losses reported are the values whose gradients are taken, and so are from before the update.

Adam is PyTorch's, which adds eps to sqrt(v) after the bias correction; TensorFlow 1's adds it before.
"""
# Some releases of torch leave Tensor.backward untyped.
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


class Trace(NamedTuple):
    """What a run leaves behind: each step's two losses, and the final weights."""

    d_losses: list[float]
    g_losses: list[float]
    generator: Weights
    discriminator: Weights


PlainLoop = Callable[[Weights, Weights, Iterator[Tensor], Iterator[Tensor], int], Trace]


def mlp_relu(
    generator: Weights, discriminator: Weights, reals: Iterator[Tensor], latents: Iterator[Tensor], steps: int
) -> Trace:
    """Text 000: 100-128-784 against 784-128-1, ReLU; D, then G, on the same z."""
    g = {name: value.detach().clone().requires_grad_() for name, value in generator.items()}
    d = {name: value.detach().clone().requires_grad_() for name, value in discriminator.items()}
    d_losses, g_losses = [], []

    def generate(z: Tensor) -> Tensor:
        h = F.relu(F.linear(z, g["0.weight"], g["0.bias"]))
        return torch.sigmoid(F.linear(h, g["1.weight"], g["1.bias"]))

    def judge(x: Tensor) -> Tensor:
        h = F.relu(F.linear(x, d["0.weight"], d["0.bias"]))
        return F.linear(h, d["1.weight"], d["1.bias"])

    # The text declares a learning rate of 0.01 but never passes it on: this is AdamOptimizer()'s own.
    d_adam = torch.optim.Adam(d.values(), 1e-3, (0.9, 0.999), eps=1e-8, foreach=False, fused=False)
    g_adam = torch.optim.Adam(g.values(), 1e-3, (0.9, 0.999), eps=1e-8, foreach=False, fused=False)

    for _ in range(steps):
        z = next(latents)
        real = next(reals).flatten(1).to(g["0.weight"]) / 255  # [0, 1]; .to(w): w's dtype and device
        fake = generate(z)

        real_logit, fake_logit = judge(real), judge(fake.detach())
        d_loss_real = F.binary_cross_entropy_with_logits(real_logit, torch.ones_like(real_logit))
        d_loss_fake = F.binary_cross_entropy_with_logits(fake_logit, torch.zeros_like(fake_logit))
        d_loss = d_loss_real + d_loss_fake
        d_adam.zero_grad()
        d_loss.backward()
        d_adam.step()

        fake_logit = judge(fake)  # the same fakes, before the discriminator just updated
        g_loss = F.binary_cross_entropy_with_logits(fake_logit, torch.ones_like(fake_logit))
        g_adam.zero_grad()
        g_loss.backward()
        g_adam.step()

        d_losses.append(d_loss.item())
        g_losses.append(g_loss.item())

    g = {name: value.detach() for name, value in g.items()}
    d = {name: value.detach() for name, value in d.items()}
    return Trace(d_losses, g_losses, g, d)


def mlp_tanh(
    generator: Weights, discriminator: Weights, reals: Iterator[Tensor], latents: Iterator[Tensor], steps: int
) -> Trace:
    """Text 001: 200-600-784 against 784-600-1, tanh; D, then G, on a fresh z each.

    The text prints costs measured after both updates on fresh batches, and stops by a rule; here there
    are the losses trained on, and no rule.
    """
    g = {name: value.detach().clone().requires_grad_() for name, value in generator.items()}
    d = {name: value.detach().clone().requires_grad_() for name, value in discriminator.items()}
    d_losses, g_losses = [], []

    def generate(z: Tensor) -> Tensor:
        h = torch.tanh(F.linear(z, g["0.weight"], g["0.bias"]))
        return torch.sigmoid(F.linear(h, g["1.weight"], g["1.bias"]))

    def judge(x: Tensor) -> Tensor:
        h = torch.tanh(F.linear(x, d["0.weight"], d["0.bias"]))
        return F.linear(h, d["1.weight"], d["1.bias"])

    d_adam = torch.optim.Adam(d.values(), 1e-3, (0.9, 0.999), eps=1e-8, foreach=False, fused=False)
    g_adam = torch.optim.Adam(g.values(), 1e-3, (0.9, 0.999), eps=1e-8, foreach=False, fused=False)

    for _ in range(steps):
        real = next(reals).flatten(1).to(g["0.weight"]) / 255  # [0, 1]
        with torch.no_grad():  # this update leaves the generator alone
            fake = generate(next(latents))
        real_logit, fake_logit = judge(real), judge(fake)
        d_loss_real = F.binary_cross_entropy_with_logits(real_logit, torch.ones_like(real_logit))
        d_loss_fake = F.binary_cross_entropy_with_logits(fake_logit, torch.zeros_like(fake_logit))
        d_loss = d_loss_real + d_loss_fake
        d_adam.zero_grad()
        d_loss.backward()
        d_adam.step()

        fake_logit = judge(generate(next(latents)))  # a fresh z
        g_loss = F.binary_cross_entropy_with_logits(fake_logit, torch.ones_like(fake_logit))
        g_adam.zero_grad()
        g_loss.backward()
        g_adam.step()

        d_losses.append(d_loss.item())
        g_losses.append(g_loss.item())

    g = {name: value.detach() for name, value in g.items()}
    d = {name: value.detach() for name, value in d.items()}
    return Trace(d_losses, g_losses, g, d)


def dcgan_softmax(
    generator: Weights, discriminator: Weights, reals: Iterator[Tensor], latents: Iterator[Tensor], steps: int
) -> Trace:
    """Text 002: convolutions, tanh, two classes; both gradients at the same weights, on the same z.

    TensorFlow keeps channels last; here they come first, in the reshape to [B, 128, 6, 6] and in the
    flattening to 2048, which only renames the units of the dense layers next to them.
    """
    g = {name: value.detach().clone().requires_grad_() for name, value in generator.items()}
    d = {name: value.detach().clone().requires_grad_() for name, value in discriminator.items()}
    d_losses, g_losses = [], []

    def generate(z: Tensor) -> Tensor:
        h = torch.tanh(F.linear(z, g["0.weight"], g["0.bias"]))
        h = h.reshape(-1, 128, 6, 6)
        h = F.conv_transpose2d(h, g["1.weight"], g["1.bias"], stride=2)  # 6 -> 14, and no activation
        h = F.conv_transpose2d(h, g["2.weight"], g["2.bias"], stride=2)  # 14 -> 28
        return torch.sigmoid(h)

    def judge(x: Tensor) -> Tensor:
        h = torch.tanh(F.conv2d(x, d["0.weight"], d["0.bias"]))  # 28 -> 24
        h = F.avg_pool2d(h, 2)  # 24 -> 12
        h = torch.tanh(F.conv2d(h, d["1.weight"], d["1.bias"]))  # 12 -> 8
        h = F.avg_pool2d(h, 2).flatten(1)  # 8 -> 4, and 128 * 4 * 4 = 2048
        h = torch.tanh(F.linear(h, d["2.weight"], d["2.bias"]))
        return F.linear(h, d["3.weight"], d["3.bias"])  # class 0: fake, class 1: real

    d_adam = torch.optim.Adam(d.values(), 1e-3, (0.9, 0.999), eps=1e-8, foreach=False, fused=False)
    g_adam = torch.optim.Adam(g.values(), 1e-3, (0.9, 0.999), eps=1e-8, foreach=False, fused=False)

    for _ in range(steps):
        real = next(reals).to(g["0.weight"]) / 255  # [0, 1]
        z = next(latents)
        fake = generate(z)
        ones = torch.ones(len(real), dtype=torch.long, device=real.device)
        zeros = torch.zeros(len(fake), dtype=torch.long, device=fake.device)

        d_logits = torch.cat([judge(real), judge(fake.detach())])
        d_loss = F.cross_entropy(d_logits, torch.cat([ones, zeros]))  # the mean over both halves at once
        g_loss = F.cross_entropy(judge(fake), torch.ones_like(zeros))

        g_adam.zero_grad()
        g_loss.backward()  # reaches the discriminator's weights too, so those are cleared next
        d_adam.zero_grad()
        d_loss.backward()  # does not reach the generator's: its fakes are detached
        g_adam.step()
        d_adam.step()

        d_losses.append(d_loss.item())
        g_losses.append(g_loss.item())

    g = {name: value.detach() for name, value in g.items()}
    d = {name: value.detach() for name, value in d.items()}
    return Trace(d_losses, g_losses, g, d)


def mlp_batchnorm(
    generator: Weights, discriminator: Weights, reals: Iterator[Tensor], latents: Iterator[Tensor], steps: int
) -> Trace:
    """Text 003: BatchNorm and LeakyReLU; G, then D on the very fakes that G was trained on.

    The biases of the generator's layers 1, 3 and 5 feed a BatchNorm, which subtracts them again: their
    gradients are nought but rounding. In float32 Adam makes visible steps of that noise (in float64 it
    does not), so two right programs may differ in these biases, and in nothing else because of them.
    """
    g = {name: value.detach().clone().requires_grad_() for name, value in generator.items()}
    d = {name: value.detach().clone().requires_grad_() for name, value in discriminator.items()}
    d_losses, g_losses = [], []

    def generate(z: Tensor) -> Tensor:
        # eps=0.8 is the text's slip (momentum was meant), and is kept. Batch statistics throughout.
        h = F.leaky_relu(F.linear(z, g["0.weight"], g["0.bias"]), 0.2)
        h = F.linear(h, g["1.weight"], g["1.bias"])
        h = F.batch_norm(h, None, None, g["2.weight"], g["2.bias"], training=True, eps=0.8)
        h = F.leaky_relu(h, 0.2)
        h = F.linear(h, g["3.weight"], g["3.bias"])
        h = F.batch_norm(h, None, None, g["4.weight"], g["4.bias"], training=True, eps=0.8)
        h = F.leaky_relu(h, 0.2)
        h = F.linear(h, g["5.weight"], g["5.bias"])
        h = F.batch_norm(h, None, None, g["6.weight"], g["6.bias"], training=True, eps=0.8)
        h = F.leaky_relu(h, 0.2)
        return torch.tanh(F.linear(h, g["7.weight"], g["7.bias"]))

    def judge(x: Tensor) -> Tensor:
        h = F.leaky_relu(F.linear(x, d["0.weight"], d["0.bias"]), 0.2)
        h = F.leaky_relu(F.linear(h, d["1.weight"], d["1.bias"]), 0.2)
        return F.linear(h, d["2.weight"], d["2.bias"])  # the text's sigmoid is in the loss

    d_adam = torch.optim.Adam(d.values(), 2e-4, (0.5, 0.999), eps=1e-8, foreach=False, fused=False)
    g_adam = torch.optim.Adam(g.values(), 2e-4, (0.5, 0.999), eps=1e-8, foreach=False, fused=False)

    for _ in range(steps):
        real = next(reals).flatten(1).to(g["0.weight"]) / 127.5 - 1  # [-1, 1]
        fake = generate(next(latents))

        fake_logit = judge(fake)
        g_loss = F.binary_cross_entropy_with_logits(fake_logit, torch.ones_like(fake_logit))
        g_adam.zero_grad()
        g_loss.backward()
        g_adam.step()

        real_logit, fake_logit = judge(real), judge(fake.detach())  # fakes of before the generator's update
        d_loss_real = F.binary_cross_entropy_with_logits(real_logit, torch.ones_like(real_logit))
        d_loss_fake = F.binary_cross_entropy_with_logits(fake_logit, torch.zeros_like(fake_logit))
        d_loss = (d_loss_real + d_loss_fake) / 2
        d_adam.zero_grad()
        d_loss.backward()
        d_adam.step()

        d_losses.append(d_loss.item())
        g_losses.append(g_loss.item())

    g = {name: value.detach() for name, value in g.items()}
    d = {name: value.detach() for name, value in d.items()}
    return Trace(d_losses, g_losses, g, d)


def mlp_smooth(
    generator: Weights, discriminator: Weights, reals: Iterator[Tensor], latents: Iterator[Tensor], steps: int
) -> Trace:
    """Text 004: LeakyReLU, tanh, reals labelled 0.9; D, then G, on the same z."""
    g = {name: value.detach().clone().requires_grad_() for name, value in generator.items()}
    d = {name: value.detach().clone().requires_grad_() for name, value in discriminator.items()}
    d_losses, g_losses = [], []

    def generate(z: Tensor) -> Tensor:
        h = F.leaky_relu(F.linear(z, g["0.weight"], g["0.bias"]), 0.2)  # 0.2: TensorFlow's default slope
        return torch.tanh(F.linear(h, g["1.weight"], g["1.bias"]))

    def judge(x: Tensor) -> Tensor:
        h = F.leaky_relu(F.linear(x, d["0.weight"], d["0.bias"]), 0.2)
        return F.linear(h, d["1.weight"], d["1.bias"])

    d_adam = torch.optim.Adam(d.values(), 1e-3, (0.9, 0.999), eps=1e-8, foreach=False, fused=False)
    g_adam = torch.optim.Adam(g.values(), 1e-3, (0.9, 0.999), eps=1e-8, foreach=False, fused=False)

    for _ in range(steps):
        real = next(reals).flatten(1).to(g["0.weight"]) / 127.5 - 1  # [-1, 1]
        fake = generate(next(latents))

        real_logit, fake_logit = judge(real), judge(fake.detach())
        d_loss_real = F.binary_cross_entropy_with_logits(real_logit, torch.full_like(real_logit, 0.9))
        d_loss_fake = F.binary_cross_entropy_with_logits(fake_logit, torch.zeros_like(fake_logit))
        d_loss = d_loss_real + d_loss_fake
        d_adam.zero_grad()
        d_loss.backward()
        d_adam.step()

        fake_logit = judge(fake)  # the same fakes, before the discriminator just updated
        g_loss = F.binary_cross_entropy_with_logits(fake_logit, torch.ones_like(fake_logit))
        g_adam.zero_grad()
        g_loss.backward()
        g_adam.step()

        d_losses.append(d_loss.item())
        g_losses.append(g_loss.item())

    g = {name: value.detach() for name, value in g.items()}
    d = {name: value.detach() for name, value in d.items()}
    return Trace(d_losses, g_losses, g, d)


PLAIN_LOOPS: dict[str, PlainLoop] = {
    "mlp-relu": mlp_relu,
    "mlp-tanh": mlp_tanh,
    "dcgan-softmax": dcgan_softmax,
    "mlp-batchnorm": mlp_batchnorm,
    "mlp-smooth": mlp_smooth,
}
