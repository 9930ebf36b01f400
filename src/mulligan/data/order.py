"""In which order a run sees its images: a pure function of how many it has seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from mulligan import seeds
from mulligan.errors import UserError


@dataclass
class BatchOrder:
    """The infinite sequence of batches of a run, resumable from one number.

    The images stand in one endless row, made of periods. Under ``epoch`` a period is a
    permutation of the set that depends on (seed, epoch) alone; under ``replacement`` it is one
    batch of independent draws that depends on (seed, batch number) alone. Setting `position`
    therefore continues the sequence exactly.

    Attributes:
        n: Number of images in the set, at least `batch`.
        batch: Images in a batch, at least 1.
        seed: Any integer.
        law: ``epoch`` (every image once before any comes again) or ``replacement``.
        last: What ends an epoch whose length the batch does not divide: ``carry`` (a batch
            runs over into the next epoch) or ``short`` (a batch of fewer images).
        position: Images handed out so far; the whole state.

    Raises:
        UserError: the set has fewer images than a batch, or a number is out of range.
    """

    n: int
    batch: int
    seed: int
    law: Literal["epoch", "replacement"]
    last: Literal["carry", "short"]
    position: int = 0
    _cached: tuple[int, torch.Tensor] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"batch size: expected at least 1, got {self.batch}")
        if self.n < self.batch:
            raise UserError(f"the set has {self.n} images, fewer than a batch of {self.batch}")
        if self.position < 0:
            raise UserError(f"position: expected at least 0, got {self.position}")

    def next(self) -> torch.Tensor:
        """Return the next batch's indices, int64 ``[B]``, values 0..n-1, and advance `position`.

        B is `batch`, or less at the end of an epoch under ``last="short"``.
        """
        period = self.n if self.law == "epoch" else self.batch
        number, start = divmod(self.position, period)
        left = period - start
        count = min(self.batch, left) if self.law == "epoch" and self.last == "short" else self.batch
        indices = self._period(number)[start : start + count]
        if count > left:
            indices = torch.cat([indices, self._period(number + 1)[: count - left]])
        self.position += count
        return indices.clone()  # the caller may change it; the cached period must not

    def whole(self, batches: int) -> bool:
        """Tell whether the next so many batches are of full size."""
        if self.law != "epoch" or self.last != "short":
            return True
        return self.position % self.n + batches * self.batch <= self.n

    def _period(self, number: int) -> torch.Tensor:
        if self._cached is None or self._cached[0] != number:
            generator = torch.Generator().manual_seed(seeds.derive(self.seed, self.law, number))
            if self.law == "epoch":
                indices = torch.randperm(self.n, generator=generator)
            else:
                indices = torch.randint(self.n, (self.batch,), generator=generator)
            self._cached = number, indices
        return self._cached[1]
