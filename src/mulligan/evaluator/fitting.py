"""Train a classifier: the evaluator itself, or one that learns from a generator's images."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mulligan import seeds
from mulligan.evaluator.network import SMALL, WIDTHS, Network, augmented

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

BATCH = 128


def fit(
    images: Pixels,
    labels: Labels,
    classes: int,
    *,
    steps: int,
    seed: int = 0,
    lr: float = 3e-3,
    small: bool = False,
    progress: Callable[[int, float], object] | None = None,
) -> Network:
    """Train a classifier with AdamW, one cycle of the learning rate, and augmentation.

    The weights returned are an average over the last updates, their BatchNorm measured anew.

    Args:
        images: uint8 ``[N, C, H, W]``.
        labels: int64 ``[N]``, 0..classes-1.
        classes: K.
        steps: Updates of 128 images each.
        seed: The same seed on the same machine gives the same bits.
        lr: The highest learning rate.
        small: Half the channels: a third of the time.
        progress: Called with (updates made, loss) now and then.
    """
    shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.derive(seed, "evaluator"))
        network = Network(shape, classes, SMALL if small else WIDTHS)
    rng = torch.Generator().manual_seed(seeds.derive(seed, "evaluator", "data"))
    pixels, targets = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.02)
    rise = 0.2 if steps > 5 else 0.3  # of five a fifth would be no way to go
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=rise)
    average = copy.deepcopy(network)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        if len(order) < BATCH:
            order = torch.cat([order, torch.randperm(len(pixels), generator=rng)])
        picks, order = order[:BATCH], order[BATCH:]
        batch = augmented(pixels[picks].float() / 255, rng)
        _, logits = network(batch)
        loss = F.cross_entropy(logits, targets[picks], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        with torch.no_grad():  # an average over about the last 300 updates
            for mean, value in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(value, 1 / min(step + 1, 300))
        if progress and (step + 1) % 100 == 0:
            progress(step + 1, float(loss.detach()))
    _recalibrate(average, pixels, rng)
    return average.eval().requires_grad_(False)


@torch.no_grad()
def _recalibrate(network: Network, pixels: Tensor, rng: torch.Generator) -> None:
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    order = torch.randperm(len(pixels), generator=rng)[: 50 * 256]
    for picks in torch.tensor_split(
        order, math.ceil(len(order) / 256)
    ):  # as many in each, or a few weigh much
        network.train()(pixels[picks].float() / 255)
