from __future__ import annotations

import contextlib
import io
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulligan.data.npz import read_npz, write_npz
from mulligan.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 1, 4, 6), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (5, 3, 4, 6), dtype=np.uint8)
LABELS = np.array([0, 2, 1, 2, 0])


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("images", [GREY, COLOUR])
@pytest.mark.parametrize("labels", [None, LABELS])
def test_round_trip(tmp_path: Path, images: Any, labels: Any) -> None:
    path = tmp_path / "set.npz"
    write_npz(path, images, labels)
    got, got_labels = read_npz(path)
    np.testing.assert_array_equal(got, images)
    if labels is None:
        assert got_labels is None
    else:
        assert got_labels is not None
        assert got_labels.dtype == np.int64
        np.testing.assert_array_equal(got_labels, labels)
    assert [p.name for p in tmp_path.iterdir()] == ["set.npz"]


def test_writing_is_deterministic_and_says_where_it_cannot(tmp_path: Path) -> None:
    for name in "ab":
        write_npz(tmp_path / name, GREY, LABELS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(UserError, match="cannot be written"):
        write_npz(tmp_path / "none" / "set.npz", GREY)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY[:, 0], GREY),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
        (GREY.transpose(0, 2, 3, 1), GREY),
        (np.asfortranarray(COLOUR), COLOUR),
        (COLOUR[..., :3], COLOUR[..., :3]),  # C could be either axis: the first is taken
    ],
)
def test_layouts(tmp_path: Path, images: Any, expected: Any) -> None:
    got, _ = read_npz(save(tmp_path / "set.npz", images=images))
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, expected)


def test_labels_of_any_integer_type(tmp_path: Path) -> None:
    for dtype in ("uint8", ">i4", "uint64"):
        _, labels = read_npz(save(tmp_path / "set.npz", images=GREY, labels=LABELS.astype(dtype)))
        assert labels is not None
        assert labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"image": GREY}, "no key 'images' .did you mean 'image'"),
        ({"labels": LABELS}, "no key 'images'"),
        ({"images": GREY / np.float32(255)}, "expected uint8 0..255, got float32: multiply by 255 and cast"),
        ({"images": GREY.astype(np.int64)}, "expected uint8 0..255, got int64"),
        ({"images": np.array([None, "x"], dtype=object)}, "got object"),
        ({"images": GREY[0, 0]}, "expected shape"),
        ({"images": GREY[:0]}, "expected shape"),
        ({"images": COLOUR[:, [0, 1, 2, 0]]}, "1 or 3 channels"),
        ({"images": GREY, "labels": LABELS[:4]}, "4 labels for 5 images"),
        ({"images": GREY, "labels": LABELS / 2}, "expected integers, got float64"),
        ({"images": GREY, "labels": LABELS[:, None]}, r"expected shape \[N\]"),
        ({"images": GREY, "labels": LABELS - 1}, r"got -1\.\.1"),
        ({"images": GREY, "labels": LABELS * 500}, r"got 0\.\.1000"),
        ({"images": GREY, "labels": LABELS.astype(np.uint64) * 2**62}, "K at most 1000"),
    ],
)
def test_refuses_wrong_arrays(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    path = save(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=said) as caught:
        read_npz(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("unpickled",))


def test_never_unpickles(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    for payload in (pickle.dumps(Bomb()), npy(np.array([Bomb()], dtype=object))):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", payload)
        with pytest.raises(UserError):
            read_npz(path)


def archive_of(images: bytes, declared: int | None = None) -> bytes:
    """Return a deflated zip of one member whose headers may declare a false size and its checksum."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", images)
    if declared is None:
        return buffer.getvalue()
    true = struct.pack("<I", len(images))
    false = struct.pack("<I", declared)
    crc, false_crc = (struct.pack("<I", zlib.crc32(data)) for data in (images, images[:declared]))
    return buffer.getvalue().replace(true, false).replace(crc, false_crc)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not an .npz archive"),
        (b"PK" + bytes(100), "not an .npz archive"),
        (npy(GREY), "not an .npz archive"),
        (archive_of(npy(GREY))[:-30], "not an .npz archive"),
        (archive_of(npy(GREY)[:-1]), "120 bytes, but the archive holds 119"),
        (archive_of(npy(GREY) + b"x"), "120 bytes, but the archive holds 121"),
        (archive_of(npy(GREY) + bytes(10**6), len(npy(GREY))), "more than the 120 bytes"),
        (archive_of(npy(GREY)[:-1], len(npy(GREY))), "cut short|damaged"),
        (archive_of(b"no array"), "npy format 1.0"),
        (archive_of(b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\x7f" + bytes(10**6)), "npy format 1.0"),
        (archive_of(npy(GREY).replace(b"(5, 1, 4, 6)", b"(-5,-1,4, 6)")), "expected shape"),
        (archive_of(npy(GREY).replace(b"(5, 1, 4, 6), } ", b"(5, 10**9, 4, 6)}")), "damaged"),
        (archive_of(npy(GREY).replace(b"(5, 1, 4, 6), }    ", b"(5, 9999999, 4, 6)}")), "archive holds"),
        (archive_of(npy(GREY).replace(b"(5, 1, 4, 6), }      ", b"(5, 999999999, 4, 6)}")), "than 4 GiB"),
    ],
)
def test_refuses_hostile_archives(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(UserError, match=said) as caught:
        read_npz(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_npz(tmp_path / "none.npz")


FUZZED = archive_of(npy(GREY))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_no_bytes_raise_anything_but_usererror(
    tmp_path: Path, changes: list[tuple[int, int]], inside: bool
) -> None:
    data = bytearray(npy(GREY) if inside else FUZZED)
    for at, value in changes:
        data[at % min(len(data), 140) if inside else at % len(data)] = value
    path = tmp_path / "fuzz.npz"
    path.write_bytes(archive_of(bytes(data)) if inside else bytes(data))
    with contextlib.suppress(UserError):
        assert read_npz(path)[0].ndim == 4
