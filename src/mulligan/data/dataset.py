"""What every reader of data returns."""

from __future__ import annotations

import hashlib
from dataclasses import InitVar, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mulligan.errors import UserError

POINT = (2, 1, 1)  # shape of a point in a plane, which takes an image's place


@dataclass(frozen=True)
class Dataset:
    """Images as uint8, in memory or mapped from a file, with what is known about them.

    Attributes:
        name: How the set is recorded: ``mnist``, ``digits``, or the path it was read from.
        images: uint8 ``[N, C, H, W]``, values 0..255, C is 1 or 3; of points in a plane,
            float32 ``[N, 2, 1, 1]``.
        labels: int64 ``[N]``, values 0..K-1, or None.
        class_names: One name per class, in the order of the labels; empty without labels.
        note: One sentence for the user where something was chosen for them, else empty.
        has_validation_head: True for the named 60,000-image IDX training sets, whose first
            5,000 images TensorFlow 1's loader held out for validation.
        known_sha256: The `digest`, from a reader that has it already; `dataclasses.replace`, after
            which it may be another, forgets it.
    """

    name: str
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()
    note: str = ""
    has_validation_head: bool = False
    known_sha256: InitVar[str | None] = None

    def __post_init__(self, known_sha256: str | None) -> None:
        """Check what a caller handed over, so that nothing fails in the middle of a run."""
        images, labels = np.asarray(self.images), self.labels
        if images.ndim != 4 or images.dtype not in (np.uint8, np.float32) or min(images.shape) < 1:
            raise UserError(
                f"{self.name}: expected images uint8 [N, C, H, W], got {images.dtype} {list(images.shape)}"
            )
        if images.dtype == np.float32 and images.shape[1:] != POINT:
            raise UserError(f"{self.name}: expected uint8 0..255, got float32: multiply by 255 and cast")
        if images.dtype == np.uint8 and images.shape[1] not in (1, 3):
            hint = " ([N, H, W, C]?)" if images.shape[3] in (1, 3) else ""
            raise UserError(
                f"{self.name}: expected 1 or 3 channels in [N, C, H, W], got {list(images.shape)}{hint}"
            )
        if images.dtype == np.float32 and not np.isfinite(images).all():
            raise UserError(f"{self.name}: has points that are not finite")
        object.__setattr__(self, "images", np.ascontiguousarray(images))
        if known_sha256 is not None:
            self.__dict__["sha256"] = known_sha256  # where the cached property keeps it
        if labels is None:
            return
        labels = np.asarray(labels)
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            found = f"{labels.dtype} {list(labels.shape)}"
            raise UserError(f"{self.name}: expected integer labels [{len(images)}], got {found}")
        names = self.class_names or tuple(str(i) for i in range(int(labels.max()) + 1))
        if not 0 <= labels.min() <= labels.max() < len(names):
            raise UserError(
                f"{self.name}: labels {labels.min()}..{labels.max()} for {len(names)} classes: "
                f"expected 0..{len(names) - 1}"
            )
        object.__setattr__(self, "labels", labels.astype(np.int64))
        object.__setattr__(self, "class_names", names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, c, h, w = self.images.shape
        return c, h, w

    @property
    def classes(self) -> int:
        """Number of classes K; 0 where there are no labels."""
        return len(self.class_names)

    def held_out(self, asked: int) -> int:
        """Return how many of its first images are left out where a recipe asks for so many."""
        return asked if self.has_validation_head else 0

    @cached_property
    def sha256(self) -> str:
        """The `digest` of images and labels."""
        return digest(self.images, self.labels)

    def __len__(self) -> int:
        return int(self.images.shape[0])


def digest(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64] | None) -> str:
    """Hash shape, pixels and labels: the identity of the data in a run's records."""
    found = hashlib.sha256(repr(images.shape).encode())
    found.update(np.ascontiguousarray(images).data)
    if labels is not None:
        found.update(np.ascontiguousarray(labels).data)
    return found.hexdigest()
