"""What a page draws anew from a run's last checkpoint: a walk, nearest neighbours, points in a plane."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mulligan import data as data_room
from mulligan import pictures
from mulligan.checkpoint import AboutData
from mulligan.data.dataset import Dataset
from mulligan.errors import UserError
from mulligan.metrics import memory
from mulligan.model import Model
from mulligan.recipe import Recipe
from mulligan.reporting.embedding import embed, embed_array
from mulligan.reporting.markup import Markup, section, tag

SAMPLES = 16
KEYS, BETWEEN = 4, 8  # of the walk: a whole chunk would cost no less
POINTS = 2048
QUICK = memory.POOL  # pixels of training images that are looked through at the end of a training


def walk(model: Model) -> Markup:
    """Walk through a few latents and back to the first."""
    images = model.sampler.interpolate(BETWEEN, keys=KEYS)
    ends = [f"Sample {key + 1}" for key in range(KEYS)]
    tiles = [
        tag(
            "img",
            src=embed_array(image),
            alt=ends[i // BETWEEN] if i % BETWEEN == 0 else "",
            class_="tile key" if i % BETWEEN == 0 else "tile",
        )
        for i, image in enumerate(images)
    ]
    said = (
        f"From one sample to the next and back to the first: {KEYS} latents (underlined), {BETWEEN} steps "
        "each. Where the steps are small and every image on the way is a good one, the generator has learnt "
        "a space rather than a list."
    )
    return section("walk", "A walk through the latents", tag("p", said), tag("div", *tiles, class_="tiles"))


def plane(model: Model, dataset: Dataset | None) -> Markup:
    """Plot what a generator of points draws beside real points."""
    drawn = [("Generated", model.sample(POINTS))]
    if dataset is not None:
        drawn.append(("Real", dataset.images[:POINTS]))
    plots = [
        tag(
            "figure",
            tag("img", src=embed(_scatter(points)), alt=f"{name} points in the plane", class_="plot"),
            tag("figcaption", f"{name}, {len(points):,} points"),
        )
        for name, points in drawn
    ]
    return section("plane", "In the plane", tag("div", *plots, class_="pair"))


def neighbours(model: Model, found: Dataset | str, *, quick: bool) -> Markup:
    """Show samples above their nearest training images; where these are not at hand, say why.

    ``quick`` looks only through as many as takes a moment.
    """
    title = "Nearest training images"
    if isinstance(found, str):
        return section("neighbours", title, tag("p", found, class_="quiet"))
    images = found.images
    size = images[0].size
    some = images[memory.some_of(images, max(SAMPLES, QUICK // size))] if quick else images
    samples = model.sample(SAMPLES)
    _, ratio, index = memory.nearest(samples.reshape(SAMPLES, -1), some.reshape(len(some), -1))
    copies = memory.near_copies(ratio)
    pairs = [
        tag(
            "figure",
            tag("img", src=embed_array(samples[i]), alt=f"Sample {i + 1}", class_="tile"),
            tag("img", src=embed_array(some[index[i]]), alt="its nearest training image", class_="tile"),
            tag("figcaption", "near copy") if copies[i] else None,
        )
        for i in range(SAMPLES)
    ]
    said = f"{SAMPLES} samples, each above the nearest of {len(some):,} training images by its pixels. "
    said += (
        f"{copies.sum()} of them {'is all but a copy' if copies.sum() == 1 else 'are all but copies'}."
        if copies.any()
        else "None is a copy."
    )
    if len(some) < len(images):
        said += f" {len(images):,} are too many to look through at the end of a run: `mulligan report` does."
    return section("neighbours", title, tag("p", said), tag("div", *pairs, class_="tiles pairs"))


def training_images(about: AboutData, recipe: Recipe, run: Path) -> Dataset | str:
    """Load what a run was trained on, if nothing need be fetched for it; else say in a line how to get it."""
    if about.source is None:
        return (
            "The training images were handed over in Python, so that they cannot be looked through from here."
        )
    try:
        loaded = data_room.load(
            about.source, size=about.size, default_size=recipe.data.size, fetch_missing=False
        )
    except UserError:
        named = about.source in data_room.DATASETS
        how = f"`mulligan data fetch {about.source}` gets it" if named else "put it back where it was"
        return f"{about.name} is not here: {how}, then `mulligan report {run}` shows it."
    if loaded.sha256 != about.sha256:
        return f"{about.name} has changed since the run, so that its images are not those it was trained on."
    return trained_on(loaded, recipe)


def trained_on(dataset: Dataset, recipe: Recipe) -> Dataset:
    """Return that part of a set that a recipe trains on."""
    held_out = dataset.held_out(recipe.data.holdout)
    if not held_out:
        return dataset
    labels = None if dataset.labels is None else dataset.labels[held_out:]
    return replace(dataset, images=dataset.images[held_out:], labels=labels)


def _scatter(points: npt.NDArray[Any]) -> Image.Image:
    return pictures.scatter(points.astype(np.float32))
