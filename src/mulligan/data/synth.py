"""A labelled set of digits drawn from the generator in the package: MNIST where there is none."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import numpy as np

from mulligan.data.dataset import Dataset
from mulligan.data.download import Progress
from mulligan.data.npz import read_npz, write_npz
from mulligan.errors import UserError
from mulligan.files import user_cache
from mulligan.model import SHIPPED, load

NAME = "mnist-synth"
SIZES = {"train": 60_000, "test": 10_000}
_SEEDS = {"train": 60, "test": 10}


def read_synth(split: str, progress: Progress | None = None) -> Dataset:
    """Return 60,000 digits to train on or 10,000 to test with, 28×28, each class as often.

    They are drawn the first time, in half a minute, and kept in the user's cache. Their bits are those of the
    machine that drew them.

    Args:
        split: ``train`` or ``test``.
        progress: Called with (images drawn, in all).

    Raises:
        UserError: the generator in the package is damaged.
    """
    weights = SHIPPED["mnist"]
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    path = user_cache() / NAME / f"{split}-{digest[:16]}.npz"
    return _kept(path, split) or _drawn(path, split, progress)


def _kept(path: Path, split: str) -> Dataset | None:
    with contextlib.suppress(UserError):  # missing, or damaged
        images, labels = read_npz(path)
        if labels is not None and images.shape == (SIZES[split], 1, 28, 28) and labels.max() == 9:
            return Dataset(NAME, images, labels, tuple("0123456789"))
    return None


def _drawn(path: Path, split: str, progress: Progress | None) -> Dataset:
    model, n, seed = load(SHIPPED["mnist"]), SIZES[split], _SEEDS[split]
    labels = np.random.Generator(np.random.PCG64(seed)).permutation(np.arange(n) % 10)
    chunks = []
    for chunk in model.chunks(n, seed, labels.tolist()):
        chunks.append(chunk)
        if progress:
            progress(sum(map(len, chunks)), n)
    images = np.concatenate(chunks)
    with contextlib.suppress(OSError, UserError):  # what cannot be kept is drawn again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_npz(path, images, labels)
    return Dataset(NAME, images, labels, tuple("0123456789"))
