"""What every reader of data returns."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt


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
        digest.update(np.ascontiguousarray(self.images).tobytes())
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return int(self.images.shape[0])
