"""What a generator's images are held against: a folder with an evaluator and what it says of real images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator

from mulligan import archive, evaluator
from mulligan import data as data_room
from mulligan.archive import Header
from mulligan.data.dataset import Dataset
from mulligan.errors import UserError, nearest
from mulligan.evaluator import Evaluator
from mulligan.metrics.frechet import Target

Floats = npt.NDArray[np.float64]

EVALUATOR, STATISTICS = "evaluator.safetensors", "reference.safetensors"
SHIPPED_FOLDER = Path(__file__).parent.parent / "references"
SHIPPED = ("mnist",)
STANDS_FOR = {"mnist-synth": "mnist"}
MOST = 10_000  # real images a reference keeps the features of


class Profile(Header):
    """Pixels of real images, 0..255: means over images of each one's darkest, brightest and mean."""

    low: float
    high: float
    mean: float


class About(Header):
    """What a reference's file says of itself.

    Attributes:
        name: Such as ``mnist``.
        source: By which ``--data`` finds its training images again.
        training_sha256: Of these.
        training_images: How many.
        class_shares: Of the reference's images; empty without classes.
        pixels: Their profile.
        unit: Mean squared distance between the features of two of them.
        near_copies: How many held-out images count as copies of a training image, and of how many.
        sizes: Numbers of images for which the floors were measured.
        floors: Metric to its value between that many other real images and the reference.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: Annotated[str, Field(max_length=1000)]
    source: Annotated[str, Field(max_length=4096)] | None
    training_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    training_images: Annotated[int, Field(ge=1, le=10**9)]
    class_shares: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(max_length=1000)]
    pixels: Profile
    unit: Annotated[float, Field(gt=0)]
    near_copies: tuple[int, int] | None
    sizes: Annotated[tuple[int, ...], Field(min_length=1, max_length=64)]
    floors: dict[str, Annotated[tuple[float, ...], Field(max_length=64)]]

    @model_validator(mode="after")
    def _check(self) -> About:
        if self.sizes[0] < 1 or any(a >= b for a, b in pairwise(self.sizes)):
            raise ValueError("its sizes do not rise from 1 on")
        if any(len(values) not in (0, len(self.sizes)) for values in self.floors.values()):
            raise ValueError("it has not as many floors as sizes")
        count, of = self.near_copies or (0, 1)
        if of < 1 or not 0 <= count <= of:
            raise ValueError("its near copies are more than its images, or of none")
        return self


@dataclass(frozen=True)
class Reference:
    """Real images as an evaluator sees them.

    Attributes:
        features: float64 ``[M, 128]`` of real images that no generator should have seen.
        held_out: Distance of held-out images to their nearest training image, float64 ``[H]``;
            empty where it was not measured.
    """

    about: About
    evaluator: Evaluator
    features: Floats
    held_out: Floats

    @cached_property
    def target(self) -> Target:
        """What Fréchet distances are measured to."""
        return Target.of(self.features)

    def floor(self, metric: str, n: int) -> float | None:
        """Return what a metric is between ``n`` other real images and the reference.

        Between the sizes it was measured at, it is taken as linear in 1/n, as the bias of
        distances between samples is (Chong and Forsyth 2020).
        """
        values = self.about.floors.get(metric)
        if not values:
            return None
        inverse = [1 / size for size in self.about.sizes]
        return float(np.interp(1 / n, inverse[::-1], values[::-1]))

    def matches(self, sha256: str) -> bool:
        """Is this the reference of just that training set?"""
        return sha256 == self.about.training_sha256

    def suits(self, data: str, sha256: str, image_shape: tuple[int, int, int]) -> bool:
        """Is this what a generator that was trained on such data is judged by?"""
        stands_for = STANDS_FOR.get(data) == self.about.name
        return self.matches(sha256) or (stands_for and image_shape == self.evaluator.about.image_shape)

    @cached_property
    def training(self) -> Dataset:
        """The images that memorisation is measured against; nothing is fetched.

        Raises:
            UserError: they are not here, or are no longer the same.
        """
        source, shape = self.about.source, self.evaluator.about.image_shape
        if source is None:
            raise UserError(f"the reference {self.about.name} does not say where its images are")
        found = data_room.load(source, default_size=shape[1], fetch_missing=False)
        if not self.matches(found.sha256):
            raise UserError(f"{source} is no longer what the reference {self.about.name} was made from")
        return found


def find(wanted: str | Path) -> Reference:
    """Load a reference by its name, or from the folder that ``mulligan reference`` made.

    Raises:
        UserError: there is none.
    """
    name = str(wanted)
    folder = SHIPPED_FOLDER / name if name in SHIPPED else Path(wanted)
    if not (folder / STATISTICS).is_file():
        raise UserError(
            f"--reference {name}: neither a reference of the package nor a folder that "
            f"`mulligan reference` made{nearest(name, SHIPPED)}"
        )
    return load(folder)


def load(folder: Path) -> Reference:
    """Read a reference's folder.

    Raises:
        UserError: it holds none, or a damaged one.
    """
    judge = evaluator.load(folder / EVALUATOR)
    path = folder / STATISTICS
    with archive.opened(path, "a reference") as file:
        about = archive.parsed(path, About, archive.header_text(file), "a reference")
        features = file.get_tensor("features").double().numpy()
        held_out = file.get_tensor("held_out").double().numpy()
    if features.ndim != 2 or len(features) < 2 or held_out.ndim != 1:
        raise UserError(f"{path}: features of shape {list(features.shape)}: expected [M, 128]")
    if not (np.isfinite(features).all() and np.isfinite(held_out).all()):
        raise UserError(f"{path}: holds numbers that are not finite")
    if len(about.class_shares) != len(judge.about.class_names):
        raise UserError(f"{folder}: its two files do not belong together")
    return Reference(about, judge, features, held_out)


def save(folder: Path, reference: Reference) -> None:
    """Write a reference's folder.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    evaluator.save(folder / EVALUATOR, reference.evaluator.about, reference.evaluator.network)
    tensors = {
        "features": torch.from_numpy(reference.features).half(),
        "held_out": torch.from_numpy(reference.held_out).float(),
    }
    archive.write(folder / STATISTICS, tensors, reference.about.model_dump_json(by_alias=True))


def profile(images: npt.NDArray[np.uint8]) -> Profile:
    """Measure the range of images' pixels, uint8 ``[N, C, H, W]``."""
    flat = images.reshape(len(images), -1)
    return Profile(
        low=float(flat.min(1).mean()), high=float(flat.max(1).mean()), mean=float(flat.mean(dtype=np.float64))
    )


def subset(rows: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Pick ``n`` rows at random, without replacement; all of them where there are no more."""
    return rows if n >= len(rows) else rows[rng.permutation(len(rows))[:n]]


def shares(labels: npt.NDArray[np.int64], classes: int) -> Sequence[float]:
    """Return each class's share."""
    counts = np.bincount(labels, minlength=classes)
    return [float(count) for count in counts / counts.sum()]
