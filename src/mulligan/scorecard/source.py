"""What is to be judged: a trained generator, a folder, a file, a named set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mulligan import checkpoint
from mulligan import data as data_room
from mulligan.data.dataset import Dataset
from mulligan.distributed import Group
from mulligan.errors import UserError, whole
from mulligan.model import Model, load
from mulligan.scorecard.measure import in_canonical_order

FEWEST = 10  # images; with fewer no metric says anything


@dataclass(frozen=True)
class Samples:
    """Images to judge, in canonical order.

    Attributes:
        images: uint8 ``[N, C, H, W]``; of points, float32 ``[N, 2, 1, 1]``.
        labels: What each was meant to be, int64 ``[N]``; None where nobody said.
        model: The generator that drew them, if one did.
        data: The name of the set they are from, or their generator was trained on.
        class_names: In the order of the labels; empty without.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None
    model: Model | None
    data: str
    class_names: tuple[str, ...] = ()

    @property
    def are_points(self) -> bool:
        """Points in a plane rather than pixels?"""
        return self.images.dtype != np.uint8


def read(
    source: str | Path, n: int | None, seed: int = 0, device: str = "auto", group: Group | None = None
) -> Samples:
    """Draw ``n`` images of a run directory or checkpoint, or read them from a folder or an ``.npz``.

    Args:
        source: A run directory, a checkpoint, a folder of images, an ``.npz``, or a set's name.
        n: How many; None for 10,000 of a generator, and for all there are elsewhere.
        seed: Of the generator's images.
        device: Where a generator computes.
        group: The processes that draw a generator's images together.

    Raises:
        UserError: there is no such source, or it has fewer images.
    """
    if n is not None:
        n = whole(n, "-n", FEWEST)  # of fewer no metric says anything
    path = Path(source)
    if path.suffix == ".safetensors" or checkpoint.is_best(path) or checkpoint.history(path):
        return _from_model(load(path, device=device, group=group), 10_000 if n is None else n, seed)
    dataset = _from_files(source)
    if len(dataset) < max(FEWEST, n or 0):
        wanted = f"{n}, as -n says" if n else f"at least {FEWEST}"
        raise UserError(f"{source}: has {len(dataset)} images, expected {wanted}")
    images, labels = in_canonical_order(dataset.images, dataset.labels, n)
    return Samples(images, labels, None, dataset.name, dataset.class_names)


def _from_model(model: Model, n: int, seed: int) -> Samples:
    drawn = model.sample(n, seed)
    images, labels = in_canonical_order(drawn, model.sampler.conditions.labels(n))
    about = model.about.data
    return Samples(images, labels, model, about.name, about.class_names)


def _from_files(source: str | Path) -> Dataset:
    path = Path(source)
    if path.is_dir() and not any((path / f).exists() for f in ("recipe.toml", checkpoint.FOLDER)):
        return data_room.load(str(source), default_size=None, fetch_missing=False)
    if path.is_dir():
        raise UserError(f"{source}: a run directory without a checkpoint: nothing to judge yet")
    return data_room.load(str(source), fetch_missing=False)


def as_shape(
    images: npt.NDArray[np.uint8], shape: tuple[int, int, int], where: str | Path
) -> npt.NDArray[np.uint8]:
    """Bring grey pictures that were saved in colour to one channel; refuse any other shape.

    Raises:
        UserError: the images are not of that shape.
    """
    if images.shape[1:] == (3, *shape[1:]) and shape[0] == 1 and (images == images[:, :1]).all():
        images = images[:, :1]
    if images.shape[1:] != shape:
        found, expected = ("×".join(map(str, s)) for s in (images.shape[1:], shape))
        side = images.shape[2]
        square = side == images.shape[3] <= 128
        hint = f": `mulligan reference DATA --size {side} --out FOLDER` makes one for these" if square else ""
        raise UserError(
            f"{where}: its images are {found}, the reference's are {expected} "
            f"(channels × height × width){hint}"
        )
    return images
