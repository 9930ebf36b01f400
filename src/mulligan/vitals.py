"""An examination of a run in motion: the signs that the doctor reads, on fresh batches.

Everything is done to copies, with latents and batches that depend on the seed and on the images seen
alone, so that training's bits do not know of it and nothing of it need be saved.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from mulligan import build, pixels
from mulligan.metrics import memory
from mulligan.state import State
from mulligan.step import GAN, Knobs, discriminator_turn, generate, generator_turn, judge, look
from mulligan.stream import Stream

Signs = dict[str, Any]  # a name → a number, None where it is not finite, or numbers by layer

LOOK = 64  # images on either side, at least
MOST = 512  # of which all distances are taken
EDGE = 0.005  # of the pixel range: nearer to an end of it is saturated
FLAT = 0.97  # a tanh beyond that has less than 6 % of its slope
FEW = 8
SMALL_SET = 5_000  # images: only of so few can a generator learn them by heart
PROJECTIONS = 8


@dataclass(frozen=True)
class Seen:
    """Reals and fakes ``[n, C, H, W]``, what the networks were told of them, D's scores ``[n / pack]``."""

    real: Tensor
    fake: Tensor
    y: Tensor | None
    real_score: Tensor
    fake_score: Tensor

    @cached_property
    def between_reals(self) -> Tensor:
        """The distances between some of the reals, ``[n² − n]``: the measure of all others."""
        some = self.real[:MOST].flatten(1)
        return _distances(some, some)


def examine(state: State) -> Signs:
    """Take a run's vital signs, just after an update.

    Returns:
        Numbers by name, and by layer where a name ends in ``s``:

        - ``d_loss``, ``g_loss``: without penalties; ``penalty``: what they add to D's loss;
        - ``d_equilibrium``, ``g_equilibrium``, ``d_chance``, ``g_chance``: what this objective's losses are
          where fakes equal reals, and where D has learnt nothing;
        - ``real_accuracy``, ``fake_accuracy``: how many D is right about, where it gives a probability;
        - ``real_score``, ``fake_score``: D's mean scores; ``separation``: the chance that D scores a real
          above a fake, ½ where it cannot tell them apart; ``slope``: mean ‖∇D‖ at reals;
        - ``d_grad``, ``g_grad``, ``d_grads``, ``g_grads``: norms of gradients;
        - ``d_update``, ``g_update``, ``d_updates``, ``g_updates``: how large a share of a weight Adam's
          last update was, in root mean squares; ``d_weight``, ``g_weight``: the weights' own;
        - ``d_dead``, ``g_dead``: the share of rectified units that answer to no image; ``d_saturated``,
          ``g_saturated``: the share of hidden tanh values on the flat ends;
        - ``fake_edge``, ``real_edge``: the share of pixels at either end of the range, of fakes and reals;
        - ``diversity``: the mean square distance between fakes, as a share of that between reals;
          ``latent_effect``: likewise between fakes of the same label;
        - ``energy``: the energy distance (Székely and Rizzo 2013) of fakes from reals in pixels, as a share
          of the distance between reals;
        - ``real_low``, ``real_high``, ``fake_low``, ``fake_high``: the range of pixels, in recipe's units;
        - ``batch_effect``, ``d_batch_effect``: how far an image, and D's answer to it, depend on the others
          of their batch;
        - ``closer``: the chance that a fake lies nearer to a training image than another training image
          does, for sets of a few thousand images;
        - ``centre``: projections of the fakes' mean, to be followed over time.
    """
    recipe, knobs = state.recipe, build.knobs(state.recipe, state.images)
    gan = _copied(state.gan)
    purpose = f"vitals {state.images}"
    n = recipe.data.batch // (state.group.world if state.group else 1)  # what one process can hold
    stream = Stream(recipe, state.stream.images, state.stream.labels, state.seed, purpose, state.stream.dtype)
    with _listening(gan) as units, torch.no_grad():
        seen = _look(gan, stream, knobs, n)
    signs = _game(gan, stream, knobs, seen, n) | units
    signs |= _updates("d", state.gan.discriminator, state.gan.d_optimizer)
    signs |= _updates("g", state.gan.generator, state.gan.g_optimizer)
    signs |= _of_images(gan, recipe.data.pixels, stream, seen)
    if recipe.generator.normalised or recipe.discriminator.normalised:
        signs |= _of_company(gan, stream, knobs, seen, n)
    if recipe.generator.output != "linear" and FEW <= len(stream.images) <= SMALL_SET:
        signs["closer"] = _closer(seen.fake, stream.images, recipe.data.pixels)
    return {name: _plain(value) for name, value in signs.items()}


def _copied(gan: GAN) -> GAN:
    """Return a game that leaves no trace in the run's own, in full precision, for one process."""
    generator, discriminator = copy.deepcopy(gan.generator), copy.deepcopy(gan.discriminator)
    return replace(
        gan,
        generator=generator,
        discriminator=discriminator,
        g_optimizer=SGD(generator.parameters()),  # never moves: it only says whose gradients are asked for
        d_optimizer=SGD(discriminator.parameters()),
        precision=nullcontext,
        mean=lambda tensors: tensors,
    )


def _reals(stream: Stream, n: int) -> tuple[Tensor, Tensor | None]:
    """Draw n reals of the next batch."""
    real, y = stream.reals()
    return real[:n], None if y is None else y[:n]


def _look(gan: GAN, stream: Stream, knobs: Knobs, n: int) -> Seen:
    """Draw batches as training does, one after another, until there are enough images on either side."""
    found: list[tuple[Tensor, ...]] = []
    told = []
    while sum(len(real) for real, *_ in found) < LOOK:
        real, y = _reals(stream, n)
        fake = generate(gan, stream.latents(len(real)), y)
        scores = (gan.objective.score(judge(gan, look(gan, x, stream, knobs), y)) for x in (real, fake))
        found.append((real, fake, *scores))
        told += [] if y is None else [y]
    real, fake, real_score, fake_score = map(torch.cat, zip(*found, strict=True))
    return Seen(real, fake, torch.cat(told) if told else None, real_score, fake_score)


def _game(gan: GAN, stream: Stream, knobs: Knobs, seen: Seen, n: int) -> Signs:
    """Play one turn of either network, and look at losses, scores and gradients."""
    real, y = _reals(stream, n)
    fake = generate(gan, stream.latents(len(real)), y)
    d = discriminator_turn(gan, real, fake.detach(), y, stream, knobs)
    g = generator_turn(gan, real, fake, y, stream, knobs)
    assert d.real_logits is not None
    of_reals, of_fakes = gan.objective.d(d.real_logits, d.fake_logits)
    d_loss = gan.d_scale * (of_reals.mean() + of_fakes.mean())
    above = (seen.real_score[:MOST, None] - seen.fake_score[:MOST]).sign()
    signs: Signs = {
        "d_loss": d_loss,
        "g_loss": g.loss,
        "penalty": d.loss - d_loss,
        "real_score": seen.real_score.mean(),
        "fake_score": seen.fake_score.mean(),
        "separation": (above.mean() + 1) / 2,
        "slope": _slope(gan, look(gan, real, stream, knobs), y),
    }
    for name, (d_value, g_value) in (
        ("equilibrium", gan.objective.equilibrium),
        ("chance", gan.objective.chance),
    ):
        signs |= {f"d_{name}": gan.d_scale * d_value, f"g_{name}": g_value}
    if gan.objective.probability:
        signs["real_accuracy"] = (seen.real_score > 0).float().mean()
        signs["fake_accuracy"] = (seen.fake_score < 0).float().mean()
    for side, network, turn in (("d", gan.discriminator, d), ("g", gan.generator, g)):
        norms = [gradient.norm() for gradient in turn.gradients]
        names = [name for name, _ in network.named_parameters()]
        signs[f"{side}_grad"] = torch.stack(norms).norm()
        signs[f"{side}_grads"] = dict(zip(names, norms, strict=True))
    return signs


def _slope(gan: GAN, x: Tensor, y: Tensor | None) -> Tensor:
    """Return the mean over images x ``[B, C, H, W]`` of ‖∇D‖."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(gan.objective.score(judge(gan, x, y)).sum(), x)
    mean: Tensor = gradient.flatten(1).norm(dim=1).mean()
    return mean


def _updates(side: str, network: nn.Module, optimizer: Optimizer) -> Signs:
    """Return how large the weights are, and how large a share of them Adam's last update was.

    Both in root mean squares. A tensor that began near nothing counts as large as one of which unit inputs
    make unit outputs.
    """
    group = optimizer.param_groups[0]
    beta1, beta2 = group["betas"]
    shares: dict[str, Tensor] = {}
    sizes = []
    for name, weight in network.named_parameters():
        entry = optimizer.state.get(weight)
        if weight.dim() < 2 or not entry:  # biases begin at nothing
            continue
        t = float(entry["step"])
        mean, square = entry["exp_avg"] / (1 - beta1**t), entry["exp_avg_sq"] / (1 - beta2**t)
        step = group["lr"] * mean / (square.sqrt() + group["eps"])
        size = weight.square().mean().sqrt().clamp(min=weight[0].numel() ** -0.5)
        shares[name] = step.square().mean().sqrt() / size
        sizes.append(size)
    if not shares:
        return {}
    return {
        f"{side}_update": torch.stack(list(shares.values())).median(),
        f"{side}_updates": shares,
        f"{side}_weight": torch.stack(sizes).median(),
    }


def _of_images(gan: GAN, span: tuple[float, float], stream: Stream, seen: Seen) -> Signs:
    """Compare fakes with reals, pixel by pixel."""
    real, fake = seen.real[:MOST].flatten(1), seen.fake[:MOST].flatten(1)
    low, high = span
    edge = EDGE * (high - low)
    between_reals, between_fakes = seen.between_reals, _distances(fake, fake)
    crosswise = torch.cdist(real, fake)
    signs: Signs = {
        "diversity": _mean_square(between_fakes) / _mean_square(between_reals),
        "energy": (2 * crosswise.mean() - between_reals.mean() - between_fakes.mean()) / between_reals.mean(),
        "centre": [float(x) for x in _centre(fake, real)],
    }
    for name, x in (("real", real), ("fake", fake)):
        signs[f"{name}_low"], signs[f"{name}_high"] = x.min(), x.max()
        signs[f"{name}_edge"] = ((x < low + edge) | (x > high - edge)).float().mean()
    signs["latent_effect"] = signs["diversity"]
    if seen.y is not None:
        with torch.no_grad():
            again = generate(gan, stream.latents(len(fake)), seen.y[:MOST]).flatten(1)
        signs["latent_effect"] = (again - fake).square().sum(1).mean() / _mean_square(between_reals)
    return signs


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Return the distances between different rows of a set ``[n, P]``: ``[n² − n]``."""
    return torch.cdist(a, b)[~torch.eye(len(a), dtype=torch.bool, device=a.device)]


def _mean_square(distances: Tensor) -> Tensor:
    return distances.square().mean().clamp(min=1e-12)


def _centre(fake: Tensor, real: Tensor) -> Tensor:
    """Project the fakes' mean, less that of reals, on a few fixed directions; in reals' deviations there."""
    rng = torch.Generator().manual_seed(0)
    directions = torch.randn(fake.shape[1], PROJECTIONS, generator=rng, dtype=fake.dtype).to(fake.device)
    real, fake = real @ directions, fake @ directions
    return (fake.mean(0) - real.mean(0)) / real.std(0).clamp(min=1e-12)


@torch.no_grad()
def _of_company(gan: GAN, stream: Stream, knobs: Knobs, seen: Seen, n: int) -> Signs:
    """See what BatchNorm makes of the rest of a batch: one half stays, the other is exchanged."""
    n = min(n, len(seen.real))
    half = n // 2
    units = half // gan.pack  # that D judges
    y = None if seen.y is None else seen.y[:1].expand(n, *seen.y.shape[1:])
    moved, judged = [], []
    for i in range(len(seen.real) // n):  # of a small batch one alone says little
        z = stream.latents(2 * n - half)
        first, second = generate(gan, z[:n], y), generate(gan, torch.cat([z[:half], z[n:]]), y)
        moved.append((first - second)[:half].flatten(1).square().sum(1))
        mine, others = seen.real[i * n :][:n], seen.fake[i * n :][: n - half]
        apart, mixed = (
            gan.objective.score(judge(gan, look(gan, x, stream, knobs), y))
            for x in (mine, torch.cat([mine[:half], others]))
        )
        judged.append((apart - mixed)[:units].abs())
    deviation = torch.cat([seen.real_score, seen.fake_score]).std().clamp(min=1e-12)
    return {
        "batch_effect": torch.cat(moved).mean() / _mean_square(seen.between_reals),
        "d_batch_effect": torch.cat(judged).mean() / deviation if units else None,
    }


def _closer(fake: Tensor, images: Tensor, span: tuple[float, float]) -> float:
    """Return the chance that a fake lies nearer to a training image than another training image does."""
    training = images.flatten(1).cpu().numpy()
    drawn = pixels.to_uint8(fake[:MOST], *span).flatten(1).cpu().numpy()
    mine, _, _ = memory.nearest(drawn, training)
    some = memory.some_of(training, LOOK)
    theirs, _, _ = memory.nearest(training[some], training, own=some)
    return memory.closeness(mine, theirs).value


@contextmanager
def _listening(gan: GAN) -> Iterator[Signs]:
    """Fill what is given with the share of dead and saturated units in what is computed within."""
    signs: Signs = {}
    active: dict[str, dict[str, Tensor]] = {"d": {}, "g": {}}
    flat: dict[str, list[Tensor]] = {"d": [], "g": []}
    hooks = []

    def listen(side: str, name: str, layer: nn.Module) -> None:
        def hear(_layer: nn.Module, _inputs: Any, answer: Tensor) -> None:
            if isinstance(layer, nn.ReLU):
                ever = (answer > 0).transpose(0, 1).flatten(1).any(1)
                active[side][name] = active[side].get(name, ever) | ever
            else:
                flat[side].append((answer.abs() > FLAT).float().mean())

        hooks.append(layer.register_forward_hook(hear))

    painter = list(gan.generator.modules())[-1]  # the last layer paints the pixels, in mlp and tutorial alike
    for side, network in (("d", gan.discriminator), ("g", gan.generator)):
        for name, layer in network.named_modules():
            if isinstance(layer, nn.ReLU | nn.Tanh) and layer is not painter:
                listen(side, name, layer)
    try:
        yield signs
    finally:
        for hook in hooks:
            hook.remove()
        for side in ("d", "g"):
            if active[side]:
                signs[f"{side}_dead"] = 1 - torch.cat(list(active[side].values())).float().mean()
            if flat[side]:
                signs[f"{side}_saturated"] = torch.stack(flat[side]).mean()


def _plain(value: Any) -> Any:
    """Return what JSON can hold: plain numbers, and None for what is not finite."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if value is None:
        return None
    number = float(value.detach() if isinstance(value, Tensor) else value)
    return float(f"{number:.6g}") if math.isfinite(number) else None
