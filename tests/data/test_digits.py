from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest

import mulligan.data
from mulligan.data.digits import read_digits
from mulligan.errors import UserError

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_digits.py"


def test_the_script_rebuilds_the_file_byte_for_byte(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("build_digits", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.build(tmp_path / "digits.npz")
    shipped = Path(mulligan.data.__file__).with_name("digits.npz")
    assert (tmp_path / "digits.npz").read_bytes() == shipped.read_bytes()


def test_digits() -> None:
    began = time.monotonic()
    data = read_digits()
    assert time.monotonic() - began < 1
    assert data.name == "digits"
    assert data.images.shape == (1797, 1, 28, 28)
    assert data.labels is not None
    assert np.bincount(data.labels).min() >= 174
    assert data.class_names == tuple("0123456789")
    assert not data.has_validation_head
    assert data.sha256 == read_digits().sha256


def test_they_look_like_mnist() -> None:
    images = read_digits().images[:, 0]
    assert 0.12 < images.mean() / 255 < 0.15  # MNIST: 0.13
    assert images.max() == 255
    assert (images[:, :3] == 0).all()  # a margin on every side
    assert (images[:, -3:] == 0).all()
    ink = images > 25
    assert 0.4 < (ink & (images < 230)).sum() / ink.sum() < 0.6  # the share of grey; MNIST: 0.5
    rows = np.flatnonzero(ink.any(axis=(0, 2)))
    assert np.ptp(rows) + 1 <= 22  # MNIST: 20


@pytest.mark.parametrize("size", [8, 32, 64])
def test_any_size_shows_the_same_digits(size: int) -> None:
    data = read_digits(size)
    assert data.image_shape == (1, size, size)
    assert abs(data.images.mean() - read_digits().images.mean()) < 2


def test_size_out_of_range() -> None:
    with pytest.raises(UserError, match="got 0"):
        read_digits(0)
