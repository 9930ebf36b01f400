"""What every reader of data returns."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mulligan.errors import UserError


@dataclass(frozen=True)
class Dataset:
    """Images in memory, as uint8, with what is known about them.

    Attributes:
        name: How the set is recorded: ``mnist``, ``digits``, or the path it was read from.
        images: uint8 ``[N, C, H, W]``, values 0..255, C is 1 or 3; of points in a plane,
            float32 ``[N, 2, 1, 1]``.
        labels: int64 ``[N]``, values 0..K-1, or None.
        class_names: One name per class, in the order of the labels; empty without labels.
        note: One sentence for the user where something was chosen for them, else empty.
        has_validation_head: True for the named 60,000-image IDX training sets, whose first
            5,000 images TensorFlow 1's loader held out for validation.
    """

    name: str
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()
    note: str = ""
    has_validation_head: bool = False

    def __post_init__(self) -> None:
        """Check what a caller handed over, so that nothing fails in the middle of a run."""
        images, labels = np.asarray(self.images), self.labels
        if images.ndim != 4 or images.dtype not in (np.uint8, np.float32) or min(images.shape) < 1:
            raise UserError(
                f"{self.name}: expected images uint8 [N, C, H, W], got {images.dtype} {list(images.shape)}"
            )
        if images.dtype == np.float32 and images.shape[1:] != (2, 1, 1):
            raise UserError(f"{self.name}: expected uint8 0..255, got float32: multiply by 255 and cast")
        object.__setattr__(self, "images", np.ascontiguousarray(images))
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

    @cached_property
    def sha256(self) -> str:
        """Hash of shape, pixels and labels: the identity of the data in a run's records."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()

    def __len__(self) -> int:
        return int(self.images.shape[0])
