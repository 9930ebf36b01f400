"""What a conditional generator is told: a class that a caller may ask for, and a part of it that is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mulligan.errors import UserError
from mulligan.recipe import Conditioning

Labels = npt.NDArray[np.int64]
Parts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Conditions:
    """The classes a generator knows, each divided into parts, which the networks' one-hot vectors number.

    Attributes:
        parts: For each class how many training images each of its parts has; empty of an
            unconditional generator.
        named: Whether classes are the data's own, so that a caller may ask for one; else all images
            are of one class, and only its parts differ.
        joint: Where images were divided in pieces, which take the place of classes above: what each
            training image was told of, int64 ``[N, P]``. Its class, if they are the data's, is the
            first piece, the classes its parts.
    """

    parts: Parts = ()
    named: bool = True
    joint: Tensor | None = None

    @classmethod
    def told_by(
        cls, table: Conditioning, classes: int, channels: int, parts: Parts, joint: Tensor | None = None
    ) -> Conditions:
        """Return what networks were told by a recipe, of data of such classes, channels and parts.

        Raises:
            ValueError: these do not fit each other.
        """
        if table.kind == "none":
            if parts:
                raise ValueError(f"it divides {len(parts)} classes, its recipe tells of none")
            return cls(parts, table.labels)
        pieces = {"whole": 0, "channels": channels, "quarters": 4, "pyramid": 5}[table.pieces]
        if table.labels and not pieces and not parts:
            parts = ((1,),) * classes  # a checkpoint from before there were parts
        class_first = bool(pieces and table.labels)
        divided, expected = parts[class_first:], pieces or (classes if table.labels else 1)
        if len(divided) != expected or not divided:
            raise ValueError(f"it divides {len(divided)} classes or pieces, its recipe tells of {expected}")
        if any(len(sizes) > max(1, table.clusters) for sizes in divided):
            raise ValueError(f"it has more parts than condition.clusters, {table.clusters}")
        if class_first and len(parts[0]) != classes:
            raise ValueError(f"it tells of {len(parts[0])} classes, its data has {classes}")
        if not any(map(sum, parts)):
            raise ValueError("none of its classes has an image")
        return cls(parts, table.labels, _checked(joint, parts) if pieces else None)

    @property
    def total(self) -> int:
        """How many parts of classes there are; 0 for an unconditional generator."""
        return sum(map(len, self.parts))

    @property
    def classes(self) -> int:
        """How many classes a caller may choose from."""
        return len(self._images)

    @property
    def _images(self) -> tuple[int, ...]:
        """How many training images each class has that a caller may choose from."""
        if not self.named or not self.parts:
            return ()
        return tuple(map(sum, self.parts)) if self.joint is None else self.parts[0]

    @cached_property
    def _by_class(self) -> Tensor:
        """The rows of the table, those of class 0 first: sorted once, not for every batch that is drawn."""
        assert self.joint is not None
        return self.joint[self.joint[:, 0].argsort(stable=True)]

    def __str__(self) -> str:
        """Say in a few words what networks are told."""
        classes = f"{self.classes:,} classes"
        if self.joint is not None:
            pieces = len(self.parts) - self.named
            of = f"of {pieces} piece{'s' if pieces > 1 else ''} of an image"
            groups = f"{self.total - self.classes:,} groups of look-alikes, {of}"
            return f"{classes} and {groups}" if self.named else groups
        groups = f"{self.total:,} groups of look-alikes"
        if not self.named:
            return groups
        return f"{classes}, in {groups}" if self.total > self.classes else classes

    @property
    def note(self) -> str:
        """Say which classes have no images; empty where all have."""
        empty = [k for k, images in enumerate(self._images) if not images]
        if not empty:
            return ""
        listed = ", ".join(map(str, empty[:10])) + (", …" if len(empty) > 10 else "")
        return f"{len(empty)} of {self.classes} classes have no image and cannot be asked for: {listed}."

    def check_known(self) -> None:
        """Refuse labels where there are none to choose from.

        Raises:
            UserError: this generator knows of none.
        """
        if self.classes == 0:
            why = "condition.labels false" if self.parts else "condition.kind 'none'"
            raise UserError(f"labels: this generator was trained without any ({why})")

    def labels(self, n: int, labels: Sequence[int] | None = None) -> Labels | None:
        """Return the classes of images 0..n-1, int64 ``[n]``; None where there are none to choose from.

        Without ``labels`` image i is of class i mod K, of those that the data has images of; a single
        label is for all.

        Raises:
            UserError: labels for a generator that knows of none, too few or many, or out of range.
        """
        if labels is not None:
            self.check_known()
        if self.classes == 0:
            return None
        present = np.flatnonzero(self._images)
        if labels is None:
            return present[np.arange(n) % len(present)]
        if len(labels) not in (1, n):
            raise UserError(f"labels: expected one for all or one for each of {n} images, got {len(labels)}")
        known = range(self.classes)
        wrong = [label for label in labels if label not in known]
        if wrong:
            raise UserError(f"labels: expected 0..{self.classes - 1}, got {wrong[0]!r}")
        asked = np.resize(np.array(labels, np.int64), n)
        if unseen := set(asked.tolist()).difference(present.tolist()):
            raise UserError(f"labels: no image of class {min(unseen)} was trained on")
        return asked

    def told(self, labels: Labels | None, n: int, rng: torch.Generator) -> Tensor | None:
        """Draw for n images what the generator is told, int64 ``[n]``, or ``[n, P]`` of pieces.

        Parts of a class, and those of pieces together, of all images or of a class's, are as likely as
        the data has them. What is drawn for image i does not depend on n.
        """
        if not self.parts:
            return None
        asked = torch.zeros(n, dtype=torch.int64) if labels is None else torch.from_numpy(labels)
        chance = torch.rand(n, generator=rng, dtype=torch.float64)
        if self.joint is not None:
            if labels is None:
                return self.joint[(chance * len(self.joint)).long()]
            counts = torch.tensor(self.parts[0])
            before = counts.cumsum(0) - counts
            return self._by_class[before[asked] + (chance * counts[asked]).long()]
        drawn = torch.empty(n, dtype=torch.int64)
        begun = accumulate(map(len, self.parts), initial=0)
        for k, (first, sizes) in enumerate(zip(begun, self.parts, strict=False)):
            of_class = asked == k
            upto = torch.tensor(list(accumulate(sizes)), dtype=torch.float64)
            part = torch.searchsorted(upto, chance[of_class] * upto[-1], right=True)
            drawn[of_class] = first + part.clamp_max(len(sizes) - 1)
        return drawn


def _checked(joint: Tensor | None, parts: Parts) -> Tensor:
    """Return what images were told of each piece; refuse what those parts cannot be.

    Raises:
        ValueError: it is missing, of another shape, out of range, or of other images.
    """
    if joint is None or joint.dtype not in (torch.int16, torch.int64):
        raise ValueError("it does not say of which parts its images were told")
    if joint.dim() != 2 or not len(joint) or joint.shape[1] != len(parts):
        raise ValueError(f"of parts of {len(parts)} pieces it tells by a table {list(joint.shape)}")
    ends = torch.tensor([0, *accumulate(map(len, parts))])
    if ((joint < ends[:-1]) | (joint >= ends[1:])).any():
        raise ValueError("it tells of a part that its piece does not have")
    if not torch.equal(joint.flatten().bincount(minlength=int(ends[-1])), torch.tensor(sum(parts, ()))):
        raise ValueError("its parts have not as many images as it tells of them")
    return joint.long()
