from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mulligan import pictures
from mulligan.errors import UserError
from mulligan.pictures import Pixels
from mulligan.pixels import to_range, to_uint8

ALL = torch.arange(256, dtype=torch.uint8)


def some(n: int, channels: int, height: int = 5, width: int = 4) -> Pixels:
    return np.random.default_rng(n).integers(0, 256, (n, channels, height, width), dtype=np.uint8)


@given(
    n=st.integers(1, 14),
    channels=st.sampled_from([1, 3]),
    columns=st.integers(1, 6),
    scale=st.integers(1, 3),
    gap=st.integers(0, 3),
)
def test_every_pixel_of_a_grid_is_in_its_place(
    n: int, channels: int, columns: int, scale: int, gap: int
) -> None:
    images = some(n, channels)
    picture = pictures.grid(images, columns, scale=scale, gap=gap)
    rows = -(-n // columns)
    assert picture.mode == {1: "L", 3: "RGB"}[channels]
    assert picture.size == (scale * (columns * (4 + gap) + gap), scale * (rows * (5 + gap) + gap))
    left = np.ones((picture.height, picture.width), dtype=bool)
    sheet = np.asarray(picture).reshape(picture.height, picture.width, channels)
    for i in range(n):
        row, column = divmod(i, columns)
        y, x = scale * (gap + row * (5 + gap)), scale * (gap + column * (4 + gap))
        for dy in range(scale):
            for dx in range(scale):
                shown = sheet[y + dy : y + scale * 5 : scale, x + dx : x + scale * 4 : scale]
                np.testing.assert_array_equal(shown, images[i].transpose(1, 2, 0))
        left[y : y + scale * 5, x : x + scale * 4] = False
    assert len(np.unique(sheet[left])) <= 1  # what is between and after them has one colour


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (2, 2), (4, 2), (5, 3), (16, 4), (17, 5), (64, 8)])
def test_a_grid_is_square_unless_told(n: int, columns: int) -> None:
    assert pictures.grid(some(n, 1)).size == pictures.grid(some(n, 1), columns).size


def test_a_png_keeps_every_pixel(tmp_path: Path) -> None:
    for channels in (1, 3):
        picture = pictures.grid(some(6, channels), 3)
        pictures.save_png(tmp_path / "grid.png", picture)
        with Image.open(tmp_path / "grid.png") as read:
            np.testing.assert_array_equal(np.asarray(read), np.asarray(picture))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".WebP"])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_animation_has_its_frames(tmp_path: Path, suffix: str, count: int) -> None:
    frames = [pictures.grid(image[None], scale=2, gap=0) for image in some(count, 1, 8, 8)]
    path = tmp_path / f"walk{suffix}"
    pictures.save_animation(path, frames, milliseconds=60)
    with Image.open(path) as read:
        assert getattr(read, "n_frames", 1) == count
        for i, frame in enumerate(frames):
            read.seek(i)
            np.testing.assert_array_equal(np.asarray(read.convert("L")), np.asarray(frame))
            if count > 1:
                assert read.info["duration"] == (1060 if i == count - 1 else 60)
        assert count == 1 or read.info["loop"] == 0  # for ever


def test_a_time_lapse_shows_its_files_in_order(tmp_path: Path) -> None:
    frames = [pictures.grid(image[None], gap=0) for image in some(4, 3, 8, 8)]
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, frame in zip(paths, frames, strict=True):
        pictures.save_png(path, frame)
    pictures.save_time_lapse(tmp_path / "lapse.webp", paths)
    with Image.open(tmp_path / "lapse.webp") as read:
        assert getattr(read, "n_frames", 1) == 4
        for i, frame in enumerate(frames):
            read.seek(i)
            np.testing.assert_array_equal(np.asarray(read.convert("RGB")), np.asarray(frame))


@pytest.mark.parametrize("name", ["walk.png", "walk.mp4", "walk", "gif"])
def test_another_suffix_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    frames = [pictures.grid(some(1, 1))] * 2
    with pytest.raises(UserError, match=r"\.gif or \.webp"):
        pictures.save_animation(tmp_path / name, frames)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0)])
def test_all_256_values_come_back(low: float, high: float) -> None:
    there = to_range(ALL, low, high, torch.float32)
    assert (float(there[0]), float(there[-1])) == (low, high)
    expected = low + (high - low) * np.arange(256, dtype=np.float64) / 255
    np.testing.assert_allclose(there.numpy(), expected, rtol=0, atol=2e-7)
    assert torch.equal(to_uint8(there, low, high), ALL)


@given(low=st.floats(-1, 1), width=st.floats(0.01, 2), double=st.booleans())
def test_all_256_values_come_back_from_any_range(low: float, width: float, double: bool) -> None:
    there = to_range(ALL, low, low + width, torch.float64 if double else torch.float32)
    assert bool((there.diff() > 0).all())
    assert torch.equal(to_uint8(there, low, low + width), ALL)


def test_what_lies_outside_is_clamped_and_between_goes_to_the_nearest() -> None:
    images = torch.tensor([-5.0, -0.001, 1.001, 5.0, 0.4 / 255, 0.6 / 255, 254.6 / 255])
    assert to_uint8(images, 0, 1).tolist() == [0, 0, 255, 255, 0, 1, 255]


def test_conversion_leaves_what_it_was_given() -> None:
    values = ALL.clone()
    real = to_range(values, -1, 1, torch.float32)
    kept = real.clone()
    to_uint8(real, -1, 1)
    assert torch.equal(values, ALL)
    assert torch.equal(real, kept)
