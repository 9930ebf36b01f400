"""An evaluator as a file, and what it says of images."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from mulligan import archive, distributed
from mulligan.archive import Header, Side
from mulligan.distributed import Group
from mulligan.errors import UserError, first_line
from mulligan.evaluator.network import FEATURES, Network

SCHEMA = 1
CHUNK = 256  # images the network sees at once, always: products of other sizes round differently

Floats = npt.NDArray[np.float64]


class About(Header):
    """What an evaluator's file says of itself.

    Attributes:
        name: Such as ``mnist-cnn``.
        version: Raised whenever its scores would change.
        image_shape: (C, H, W) of the images it reads.
        class_names: What it tells apart; empty for the fallback, which has never learned anything.
        accuracy: Share of held-out real images it names rightly; None without classes.
        trained: One sentence on the data, the command and the seed.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    version: Annotated[int, Field(ge=1, le=10**6)] = 1
    image_shape: tuple[Side, Side, Side]
    class_names: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    trained: Annotated[str, Field(max_length=1000)] = ""


@dataclass(frozen=True)
class Judged:
    """What an evaluator says of N images.

    Attributes:
        features: float64 ``[N, 128]``.
        probabilities: float64 ``[N, K]``; None without classes.
    """

    features: Floats
    probabilities: Floats | None

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The likeliest class of each image, int64 ``[N]``."""
        assert self.probabilities is not None
        likeliest: npt.NDArray[np.int64] = self.probabilities.argmax(1)
        return likeliest


@dataclass(frozen=True)
class Evaluator:
    """A network that describes images, and what is known of it.

    Attributes:
        sha256: Of its file, or of its weights where it has none.
    """

    about: About
    sha256: str
    network: Network

    @cached_property
    def _folded(self) -> Network:
        """The same network, in fewer and faster operations: the rounding differs, by a millionth."""
        return self.network.folded()

    @torch.no_grad()
    def judge(
        self,
        images: npt.NDArray[np.uint8],
        device: torch.device | str = "cpu",
        group: Group | None = None,
    ) -> Judged:
        """Describe and classify images, uint8 ``[N, C, H, W]``.

        An image is judged the same alone and among others: chunks are of one size, and a short one
        is filled up. The processes of a ``group`` share them out.

        Raises:
            UserError: the images are not of the evaluator's shape.
        """
        shape = self.about.image_shape
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape:
            raise UserError(
                f"the evaluator {self.about.name} judges uint8 images of {'×'.join(map(str, shape))}, "
                f"got {images.dtype} of {'×'.join(map(str, images.shape[1:]))}"
            )
        network = self._folded.to(device)

        def describe(number: int) -> Tensor:
            chunk = torch.zeros(CHUNK, *shape, device=device).to(memory_format=torch.channels_last)
            piece = images[number * CHUNK : (number + 1) * CHUNK]
            chunk[: len(piece)] = torch.from_numpy(piece).to(device).float() / 255
            features, logits = network(chunk)
            return features if logits is None else torch.cat([features, logits], 1)

        pieces = distributed.spread(group, math.ceil(len(images) / CHUNK), describe)
        found = [piece.cpu().double() for piece in pieces]
        described = torch.cat(found)[: len(images)] if found else torch.zeros(0, FEATURES)
        features, logits = described.tensor_split([described.shape[1] - len(self.about.class_names)], 1)
        return Judged(features.contiguous().numpy(), logits.softmax(1).numpy() if logits.shape[1] else None)


def save(path: Path, about: About, network: Network) -> Evaluator:
    """Write an evaluator's file, and return the evaluator as ``load`` would.

    Raises:
        OSError: it cannot be written.
    """
    archive.write(path, network.state_dict(), about.model_dump_json(by_alias=True))
    return load(path)


def load(path: Path) -> Evaluator:
    """Read an evaluator.

    Raises:
        UserError: the file is not one.
    """
    with archive.opened(path, "an evaluator") as file:
        about = archive.parsed(path, About, archive.header_text(file), "an evaluator")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    with torch.random.fork_rng(devices=[]):  # the weights that it draws are not kept
        network = Network(about.image_shape, len(about.class_names))
    try:
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise ValueError("a weight is not finite")
        network.load_state_dict(tensors)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not an evaluator of this version: {first_line(error)}") from None
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return Evaluator(about, digest, network.eval().requires_grad_(False))


def in_memory(about: About, network: Network) -> Evaluator:
    """Return an evaluator that has no file."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return Evaluator(about, digest.hexdigest(), network)


def measure_accuracy(
    evaluator: Evaluator, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
) -> float:
    """Return the share of images it names rightly."""
    return float((evaluator.judge(images).labels == labels).mean())
