"""A trained generator, loaded from a run directory or a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulligan import build, checkpoint, hardware
from mulligan import recipe as recipes
from mulligan.errors import UserError
from mulligan.recipe import Recipe
from mulligan.sampler import Images, Sampler


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
    about: dict[str, Any]
    sampler: Sampler

    def sample(self, n: int, seed: int = 0) -> Images:
        """Draw images 0..n-1 of a seed: uint8 ``[n, C, H, W]``; image i does not depend on n.

        Raises:
            UserError: n is below 1.
        """
        _check_count(n)
        return self.sampler.sample(n, seed)

    def chunks(self, n: int, seed: int = 0) -> Iterator[Images]:
        """Draw the same images in pieces of bounded size."""
        _check_count(n)
        return self.sampler.chunks(n, seed)

    def interpolate(self, between: int, seed: int = 0) -> Images:
        """Walk through eight images and back, ``between`` steps each: uint8 ``[8·between, C, H, W]``."""
        _check_count(between)
        return self.sampler.interpolate(between, seed)


def load(source: str | Path, *, device: str = "cpu") -> Model:
    """Load the generator of a run directory's latest checkpoint, or of one checkpoint file.

    Raises:
        UserError: nothing is there, or what is there is no whole checkpoint of this version.
    """
    path = checkpoint.find(Path(source))
    saved = checkpoint.read(path, prefixes=("generator.", "sampler."))
    try:
        colours, height, width = (int(side) for side in saved.meta["data"]["image_shape"])
        recipe = recipes.from_dict(saved.meta["recipe"], f"{path}: its recipe")
        generator = build.generator(recipe, (colours, height, width))
        generator.load_state_dict({**saved.part("generator"), **saved.part("sampler")})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: does not fit its own recipe: {str(error).splitlines()[0]}") from None
    generator = generator.requires_grad_(False).eval().to(hardware.device(device))
    return Model(recipe, (colours, height, width), path, saved.meta, Sampler(generator, recipe))


def _check_count(n: int) -> None:
    if n < 1:
        raise UserError(f"the number of images must be at least 1, got {n}")
