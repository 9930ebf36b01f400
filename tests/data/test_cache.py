"""A folder too large for memory: decoded once, resumable, and never mistaken for another."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import PIL
import pytest
import torch
from PIL import Image

from mulligan import data, training
from mulligan.data import cache, folder
from mulligan.data.dataset import Dataset
from mulligan.data.folder import read_folder
from mulligan.errors import UserError
from mulligan.files import try_lock
from support import same, small, trained

N = 10
ROW = 3 * 8 * 8


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every set is too large for memory, and what is done is recorded after every two images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(folder, "IN_MEMORY", 0)
    monkeypatch.setattr(cache, "CHUNK_BYTES", 2 * ROW)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten colour images of 8×8 in two classes."""
    rng = np.random.default_rng(0)
    for i in range(N):
        path = tmp_path / "set" / ("cats" if i < 4 else "dogs") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return tmp_path / "set"


def decoded(kind: str) -> Path:
    (found,) = (Path(os.environ["XDG_CACHE_HOME"]) / "mulligan" / "decoded").glob(f"*.{kind}")
    return found


def in_memory(root: Path, size: int | None = 8) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "IN_MEMORY", 1 << 30)
        patch.setenv("XDG_CACHE_HOME", str(root.parent / "elsewhere"))
        return read_folder(root, size)


def count(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Note every file that is opened from now on."""
    opened: list[Path] = []
    real = folder._open

    def note(file: Path) -> AbstractContextManager[Image.Image]:
        opened.append(file)
        return real(file)

    monkeypatch.setattr(folder, "_open", note)
    return opened


def equal(a: Dataset, b: Dataset) -> None:
    np.testing.assert_array_equal(a.images, b.images)
    assert a.images.shape == b.images.shape
    np.testing.assert_array_equal(a.labels, b.labels)
    assert (a.name, a.class_names, a.sha256) == (b.name, b.class_names, b.sha256)


def mapped(array: npt.NDArray[Any]) -> bool:
    """Is this a view of a file rather than a copy of it?"""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base is not None


def test_the_same_as_in_memory(root: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    found = read_folder(root, 8, lambda done, total: seen.append((done, total)))
    equal(found, in_memory(root))
    assert found.class_names == ("cats", "dogs")
    assert seen == [(i + 1, N) for i in range(N)]
    assert mapped(found.images)
    assert mapped(data.load(str(root), size=8).images)
    assert not mapped(in_memory(root).images)
    assert "sha256" in vars(found)  # known, not to be computed
    assert found.sha256 == Dataset("again", found.images.copy(), found.labels).sha256


def test_grey_and_flat_at_the_images_own_size(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for i in range(3):
        Image.new("L", (8, 8), i).save(tmp_path / "set" / f"{i}.png")
    equal(read_folder(tmp_path / "set", None), in_memory(tmp_path / "set", None))
    equal(read_folder(tmp_path / "set", None), in_memory(tmp_path / "set", None))
    assert json.loads(decoded("json").read_bytes())["shape"] == [3, 1, 8, 8]


def test_small_sets_leave_no_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "IN_MEMORY", N * ROW)
    assert not mapped(read_folder(root, 8).images)
    assert not Path(os.environ["XDG_CACHE_HOME"]).exists()


def test_the_second_time_nothing_is_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_folder(root, 8)
    opened = count(monkeypatch)
    monkeypatch.setattr(cache, "digest", None)
    equal(read_folder(root, 8), first)
    assert opened == []


def test_any_path_to_the_folder_will_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_folder(root, 8)
    (root.parent / "link").symlink_to(root)
    monkeypatch.chdir(root)
    opened = count(monkeypatch)
    for way in (".", "../set", "../set/cats/..", "../link"):
        assert read_folder(way, 8).sha256 == first.sha256
    assert opened == []


def test_sizes_are_kept_apart(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eight, four = read_folder(root, 8), read_folder(root, 4)
    opened = count(monkeypatch)
    equal(read_folder(root, 8), eight)
    equal(read_folder(root, 4), four)
    assert four.images.shape == (N, 3, 4, 4)
    assert opened == []


def repaint(root: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(root / "dogs" / "7.png")


def add(root: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(root / "dogs" / "99.png")


CHANGES: dict[str, Callable[[Path], object]] = {
    "changed": repaint,
    "added": add,
    "removed": lambda root: (root / "cats" / "0.png").unlink(),
    "renamed": lambda root: (root / "cats" / "0.png").rename(root / "cats" / "00.png"),
    "moved to another class": lambda root: (root / "cats" / "3.png").rename(root / "dogs" / "3.png"),
    "class renamed": lambda root: (root / "cats").rename(root / "zebras"),
    "touched": lambda root: os.utime(root / "cats" / "0.png", ns=(0, 0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(root: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_folder(root, 8)
    kept = before.images.copy()
    CHANGES[change](root)
    opened = count(monkeypatch)
    after = read_folder(root, 8)
    assert opened
    equal(after, in_memory(root))
    np.testing.assert_array_equal(before.images, kept)  # a run that reads the old images goes on with them


def test_a_change_during_the_build_is_noticed_after_it(root: Path) -> None:
    def meddle(done: int, _: int | None) -> None:
        if done == 8:
            os.utime(root / "dogs" / "9.png", ns=(0, 0))
            repaint(root)

    read_folder(root, 8, meddle)
    equal(read_folder(root, 8), in_memory(root))


def test_another_decoder_decodes_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_folder(root, 8)
    monkeypatch.setattr(PIL, "__version__", "99.0")
    opened = count(monkeypatch)
    read_folder(root, 8)
    assert len(opened) == 2 * N  # the headers, and then the images


@pytest.mark.parametrize("stop", [1, 2, 5, 10])
def test_a_build_that_was_interrupted_goes_on(root: Path, stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(done: int, _: int | None) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_folder(root, 8, interrupt)
    assert json.loads(decoded("json").read_bytes())["sha256"] is None
    opened = count(monkeypatch)
    equal(read_folder(root, 8), in_memory(root))
    left = N - (stop - 1) // 2 * 2
    assert len(opened) == left + 2 * N  # those of the set in memory come after it


KILLED = """
import sys, time
from mulligan.data import cache, folder
folder.IN_MEMORY, cache.CHUNK_BYTES = 0, 2 * 3 * 8 * 8

def show(done, total):
    print(done, flush=True)
    time.sleep(60 if done == 7 else 0)

folder.read_folder(sys.argv[1], 8, show)
"""


@pytest.fixture
def builder(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, in the middle of decoding the folder's seventh image."""
    with subprocess.Popen([sys.executable, "-c", KILLED, str(root)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            for line in process.stdout:
                if int(line) == 7:
                    break
            yield process
        finally:
            process.kill()


def test_a_killed_build_goes_on(
    root: Path, builder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    opened = count(monkeypatch)
    found = read_folder(root, 8)
    assert len(opened) == 4
    equal(found, in_memory(root))


@pytest.mark.skipif(sys.platform == "win32", reason="has no such locks")
def test_a_second_process_waits_for_the_first(
    root: Path, builder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def wait(_: float) -> None:
        builder.kill()
        builder.wait()

    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", wait)
        equal(read_folder(root, 8, lambda done, _: seen.append(done)), in_memory(root))
    assert seen == [6, 7, 8, 9, 10]  # how far the other one was, and what was left
    with decoded("lock").open("a") as file:
        assert try_lock(file)  # given back


def about(**changes: object) -> Callable[[], object]:
    def write() -> None:
        record = json.loads(decoded("json").read_bytes())
        decoded("json").write_text(json.dumps(record | changes))

    return write


DAMAGE: dict[str, Callable[[], object]] = {
    "no record": lambda: decoded("json").unlink(),
    "an empty record": lambda: decoded("json").write_bytes(b""),
    "half a record": lambda: decoded("json").write_bytes(decoded("json").read_bytes()[:60]),
    "a record that is not text": lambda: decoded("json").write_bytes(b"\xff" * 60),
    "a record that nests too deep": lambda: decoded("json").write_bytes(b"[" * 60_000),
    "a record without end": lambda: decoded("json").write_bytes(b" " * 70_000 + b"{}"),
    "a record of something else": lambda: decoded("json").write_text("[1, 2]"),
    "another shape": about(shape=[N, 1, 8, 8]),
    "five numbers": about(shape=[N, 3, 8, 8, 1]),
    "more images": about(shape=[N + 1, 3, 8, 8]),
    "a negative side": about(shape=[N, 3, -8, -8]),
    "another side": about(shape=[N, 3, 4, 16]),
    "text for a number": about(shape=[N, "3", 8, 8]),
    "more done than there is": about(done=N + 1),
    "complete, but not done": about(done=N - 1),
    "less than nothing done": about(done=-1, sha256=None),
    "a digest that is none": about(sha256="x" * 64),
    "a fingerprint of other files": about(fingerprint="0" * 64),
    "no pixels": lambda: decoded("pixels").unlink(),
    "too few pixels": lambda: os.truncate(decoded("pixels"), N * ROW - 1),
    "too many pixels": lambda: os.truncate(decoded("pixels"), N * ROW + 1),
    "fewer pixels than were recorded": lambda: [
        damage() for damage in (about(done=5, sha256=None), lambda: os.truncate(decoded("pixels"), ROW))
    ],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_made_anew(root: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read_folder(root, 8)
    DAMAGE[damage]()
    opened = count(monkeypatch)
    equal(read_folder(root, 8), in_memory(root))
    assert len(opened) == 4 * N  # headers and images, here and for the set in memory


def full(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("what", ["fsync", "write_json"])
def test_a_disk_that_fills_up(root: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os if what == "fsync" else cache, what, full)
        with pytest.raises(UserError, match="No space left on device: make room, or point XDG_CACHE_HOME"):
            read_folder(root, 8)
    equal(read_folder(root, 8), in_memory(root))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_is_full(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_folder(root, 8)
    pixels = decoded("pixels")
    pixels.unlink()
    pixels.symlink_to("/dev/full")
    about(done=0, sha256=None)()
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(UserError, match="cannot be kept there"):
        read_folder(root, 8)


def test_room_is_looked_for_first(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=N * ROW // 2))
    opened = count(monkeypatch)
    with pytest.raises(UserError, match=r"10 images of 8×8 take .* free in .*: choose a size of at most 5$"):
        read_folder(root, 8)
    assert len(opened) == N  # headers only
    assert read_folder(root, 5).images.shape == (N, 3, 5, 5)
    monkeypatch.setattr(cache, "MAX_BYTES", N * ROW - 1)
    with pytest.raises(UserError, match="the most that is decoded: choose a size of at most 7"):
        read_folder(root, 8)


def test_a_cache_that_cannot_be_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root.parent / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "file"))
    with pytest.raises(UserError, match="Not a directory: make room, or point XDG_CACHE_HOME at another"):
        read_folder(root, 8)


def test_an_image_that_cannot_be_read_is_named(root: Path) -> None:
    broken = root / "dogs" / "8.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UserError, match=r"8\.png: not an image that can be read"):
        read_folder(root, 8)
    broken.unlink()
    equal(read_folder(root, 8), in_memory(root))


def test_an_image_that_goes_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = folder._list(root)
    listed[0][3].unlink()
    monkeypatch.setattr(folder, "_list", lambda _: listed)
    with pytest.raises(UserError, match=r"3\.png: cannot be read: No such file"):
        read_folder(root, 8)


def test_writing_to_the_images_does_not_reach_the_file(root: Path) -> None:
    found = read_folder(root, 8)
    found.images[:] = 0
    assert torch.from_numpy(found.images).sum() == 0  # and torch does not warn
    equal(read_folder(root, 8), in_memory(root))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file with a hole, and Linux's books")
def test_a_set_may_be_larger_than_memory(tmp_path: Path) -> None:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    n = 4 * pages // (3 << 20)
    with (tmp_path / "pixels").open("wb") as file:
        try:
            file.truncate(n * (3 << 20))
        except OSError:
            pytest.skip("the disk takes no file of that size")
    assert cache._mapped(tmp_path / "pixels", (n, 3, 1024, 1024))[-1, -1, -1, -1] == 0


def test_training_is_the_same_bit_for_bit(root: Path, tmp_path: Path) -> None:
    runs = []
    for name, dataset in (("mapped", data.load(str(root), size=8)), ("memory", in_memory(root))):
        run = training.train(
            "mlp-relu",
            data=dataset,
            steps=2,
            seed=3,
            out=tmp_path / name,
            overrides=(*small("mlp-relu"), "data.batch=4"),
        )
        runs.append(trained(run.directory))
    assert same(*runs)
