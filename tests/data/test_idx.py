from __future__ import annotations

import contextlib
import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulligan.data.idx import idx_bytes, read_idx, read_idx_pair
from mulligan.errors import UserError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
LABELS = np.array([3, 1], np.uint8)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("array", [IMAGES, LABELS])
@pytest.mark.parametrize("name", ["file", "file.gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_reads_raw_and_gzip_whatever_the_name(
    tmp_path: Path, array: npt.NDArray[np.uint8], name: str, packed: bool
) -> None:
    data = idx_bytes(array)
    got = read_idx(write(tmp_path / name, gzip.compress(data) if packed else data))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, array)


GOOD = idx_bytes(IMAGES)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not an IDX file"),
        (b"hello world", "begins with 68656c6c, expected 0000"),
        (b"\0\0\x0d\3" + GOOD[4:], "type 0x0d, expected 0x08"),
        (b"\0\0\x08\2" + GOOD[4:], "2 dimensions, expected 1 .* or 3"),
        (GOOD[:9], "within its header"),
        (GOOD[:-1], "23 values, its header declares 2×3×4 = 24"),
        (GOOD + b"x", "more than the 2×3×4 = 24"),
        (struct.pack(">HBB3I", 0, 8, 3, 0, 28, 28), "declares 0×28×28"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 28, 28), "more than 4 GiB"),
        (gzip.compress(GOOD, mtime=0)[:-9], "cut short"),
        (gzip.compress(GOOD, mtime=0) + b"junk", "damaged gzip"),
        (gzip.compress(GOOD + b"x", mtime=0), "more than"),
        (gzip.compress(GOOD, mtime=0)[:-5] + b"\0" + gzip.compress(GOOD, mtime=0)[-4:], "damaged gzip"),
    ],
)
def test_refuses_what_is_not_whole(tmp_path: Path, data: bytes, said: str) -> None:
    path = write(tmp_path / "bad", data)
    with pytest.raises(UserError, match=said) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_a_lying_header_allocates_nothing(tmp_path: Path, packed: bool) -> None:
    data = struct.pack(">HBBI", 0, 8, 1, 2**32 - 1) + b"few"
    path = write(tmp_path / "liar", gzip.compress(data) if packed else data)
    tracemalloc.start()
    with pytest.raises(UserError, match="cut short"):
        read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.gz", gzip.compress(GOOD + bytes(64 << 20)))
    tracemalloc.start()
    with pytest.raises(UserError, match="more than"):
        read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_idx(path)


def test_pair(tmp_path: Path) -> None:
    images, labels = write(tmp_path / "i", GOOD), write(tmp_path / "l", idx_bytes(LABELS))
    pixels, classes = read_idx_pair(images, labels)
    assert pixels.shape == (2, 1, 3, 4)
    assert classes.dtype == np.int64
    assert classes.tolist() == [3, 1]
    with pytest.raises(UserError, match="expected images"):
        read_idx_pair(labels, labels)
    with pytest.raises(UserError, match="expected labels"):
        read_idx_pair(images, images)
    with pytest.raises(UserError, match="1 labels for the 2 images"):
        read_idx_pair(images, write(tmp_path / "few", idx_bytes(LABELS[:1])))


CHANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), CHANGES, st.integers(0, 70))
def test_no_bytes_raise_anything_but_usererror(
    tmp_path: Path, packed: bool, changes: list[tuple[int, int]], keep: int
) -> None:
    data = bytearray(gzip.compress(GOOD, mtime=0) if packed else GOOD)
    for at, value in changes:
        data[at % len(data)] = value
    path = write(tmp_path / "fuzz", bytes(data[:keep]))
    with contextlib.suppress(UserError):
        assert read_idx(path).ndim in (1, 3)
