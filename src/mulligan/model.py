"""A trained generator, loaded from a run directory or a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mulligan import build, checkpoint, hardware
from mulligan import recipe as recipes
from mulligan.checkpoint import Meta
from mulligan.conditions import Conditions
from mulligan.distributed import Group
from mulligan.errors import Place, UserError, first_line, nearest, place, whole
from mulligan.recipe import Recipe
from mulligan.sampler import Images, Sampler

DIGITS = 9  # of a class that is called by a number
SHOWN = 20  # names of classes in a message
WEIGHTS = Path(__file__).parent / "weights"
SHIPPED = {"mnist": WEIGHTS / "mnist.safetensors"}  # trained and described by what lies beside them


@dataclass(frozen=True)
class Model:
    """A generator ready to draw images.

    Attributes:
        recipe: The recipe it was trained by.
        image_shape: (C, H, W) of its images.
        path: The checkpoint it was read from.
        about: What the checkpoint says of itself: images, steps, seconds, seed, data.
    """

    recipe: Recipe
    image_shape: tuple[int, int, int]
    path: Path
    about: Meta
    sampler: Sampler

    @property
    def makes_points(self) -> bool:
        """Does it draw points in a plane, float32 ``[n, 2, 1, 1]``, rather than images?"""
        return self.recipe.generator.output == "linear"

    def sample(self, n: int, seed: int = 0, labels: Sequence[int | str] | None = None) -> Images:
        """Draw images 0..n-1 of a seed: uint8 ``[n, C, H, W]``; image i does not depend on n.

        A conditional generator takes ``labels``, numbers or names of classes, one for all or one for
        each; without them image i is of class i mod K, classes without images left out.

        Raises:
            UserError: n is below 1, the seed is no whole number from 0 on, or the labels do not fit.
        """
        return self.sampler.sample(whole(n, "n", 1), whole(seed, "seed", 0), self.numbered(labels))

    def chunks(self, n: int, seed: int = 0, labels: Sequence[int | str] | None = None) -> Iterator[Images]:
        """Draw the same images in pieces of bounded size."""
        return self.sampler.chunks(whole(n, "n", 1), whole(seed, "seed", 0), self.numbered(labels))

    def interpolate(self, between: int, seed: int = 0, label: int | str | None = None) -> Images:
        """Walk through eight images and back, ``between`` steps each: uint8 ``[8·between, C, H, W]``."""
        asked = self.numbered(None if label is None else [label])
        return self.sampler.interpolate(
            whole(between, "between", 1), whole(seed, "seed", 0), asked[0] if asked else None
        )

    def numbered(self, labels: Sequence[int | str] | None) -> list[int] | None:
        """Return labels as numbers: the name of a class stands for its place, other text for a number.

        Raises:
            UserError: there is no class of that name.
        """
        if labels is None:
            return None
        self.sampler.conditions.check_known()
        if not hasattr(labels, "__len__"):
            raise UserError(f"labels: expected a list of classes, got {labels!r}")
        names = self.about.data.class_names
        return [_number(label, names) for label in ([labels] if isinstance(labels, str) else labels)]


def load(source: Place, *, device: str = "cpu", group: Group | None = None) -> Model:
    """Load the generator of a run directory's latest checkpoint, of one checkpoint file, or of the package.

    The processes of a ``group`` draw images together, on its devices.

    Raises:
        UserError: nothing is there, or what is there is no whole checkpoint of this version.
    """
    where = place(source, "source")
    path = shipped(where) or checkpoint.find(Path(where), SHIPPED)
    saved = checkpoint.read(path, prefixes=("generator.", "sampler.", "conditions."))
    shape = saved.meta.data.image_shape
    recipe = recipes.from_dict(saved.meta.recipe, f"{path}: its recipe")
    about = saved.meta.data
    try:
        joint = saved.part("conditions").get("joint")
        conditions = Conditions.told_by(
            recipe.condition, len(about.class_names), shape[0], about.parts, joint
        )
    except ValueError as error:
        raise UserError(f"{path}: its header is wrong: {error}") from None
    with torch.device("meta"):  # nothing is allocated for what a header merely claims
        generator = build.generator(recipe, shape, conditions.total)
    try:
        weights = {**saved.part("generator"), **saved.part("sampler")}
        if path in SHIPPED.values():  # of half the width, so as to be small
            weights = {name: w.float() if w.is_floating_point() else w for name, w in weights.items()}
        checkpoint.unpack_network(generator, weights, assign=True)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: does not fit its own recipe: {first_line(error)}") from None
    generator = generator.requires_grad_(False).eval().to(group.device if group else hardware.device(device))
    sampler = Sampler(generator, recipe, conditions, group)
    return Model(recipe, shape, path, saved.meta, sampler)


def shipped(source: str | Path) -> Path | None:
    """Return the file of a generator that came with the package, unless something here has its name."""
    return SHIPPED.get(str(source)) if not Path(source).exists() else None


def _number(label: int | str, names: Sequence[str]) -> int:
    if not isinstance(label, str):
        return label
    if label in names:
        return names.index(label)
    if label.isdecimal() and len(label) <= DIGITS:
        named = [int(name) for name in names if name.isdecimal() and len(name) <= DIGITS]
        if len(named) < len(names):
            return int(label)  # classes that are called by words are also counted
        if int(label) in named:
            return named.index(int(label))
    known = nearest(label, names) if len(names) <= SHOWN else f": expected {names[0]} … {names[-1]}"
    raise UserError(f"labels: there is no class {label!r}{known}")
