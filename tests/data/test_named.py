from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mulligan import data
from mulligan.cli.data import app
from mulligan.data import download, named, synth
from mulligan.data.idx import idx_bytes
from mulligan.data.named import FILES, NAMED
from mulligan.errors import RunError, UserError

RNG = np.random.default_rng(0)
SHAPES = ((6, 28, 28), (6,), (4, 28, 28), (4,))
ARRAYS = [RNG.integers(0, 10, shape, dtype=np.uint8) for shape in SHAPES]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of four small gzip files that stand in for a set's own."""
    folder = tmp_path / "source"
    folder.mkdir()
    for file, array in zip(FILES, ARRAYS, strict=True):
        (folder / f"{file}.gz").write_bytes(gzip.compress(idx_bytes(array), mtime=0))
    return folder


@pytest.fixture(autouse=True)
def small_sets(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[None]:
    """The named sets, made small; their own folders, empty; and no network."""
    if request.node.get_closest_marker("mnist"):
        yield
        return
    monkeypatch.setenv("MULLIGAN_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(named, "SHAPES", SHAPES)
    packed = [(source / f"{file}.gz").read_bytes() for file in FILES]
    sha = tuple(hashlib.sha256(gzip.decompress(p)).hexdigest() for p in packed)
    md5 = tuple(hashlib.md5(p, usedforsecurity=False).hexdigest() for p in packed)
    for name, known in NAMED.items():
        a, b, c, d = sha if known.digest_of == "content" else md5
        monkeypatch.setitem(NAMED, name, replace(known, digests=(a, b, c, d)))
    monkeypatch.setattr(data, "reachable", lambda *_: False)

    def copy(_urls: list[str], target: Path, *, check: object, progress: object, **_: object) -> None:
        file = source / target.name
        if not file.exists():
            raise UserError(f"{target.name} could not be fetched")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
        assert callable(check)
        check(target)
        assert callable(progress)
        progress(file.stat().st_size, None)

    monkeypatch.setattr(named, "download", copy)
    yield


def put(source: Path, folder: Path, raw: bool = False) -> Path:
    folder.mkdir(parents=True)
    for file in FILES:
        packed = (source / f"{file}.gz").read_bytes()
        target = folder / file if raw else folder / f"{file}.gz"
        target.write_bytes(gzip.decompress(packed) if raw else packed)
    return folder


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("raw", [False, True])
def test_loads_both_splits(source: Path, tmp_path: Path, name: str, raw: bool) -> None:
    put(source, tmp_path / "own" / name, raw)
    for split, first in (("train", 0), ("test", 2)):
        got = data.load(name, split=split)
        np.testing.assert_array_equal(got.images[:, 0], ARRAYS[first])
        assert got.labels is not None
        np.testing.assert_array_equal(got.labels, ARRAYS[first + 1])
        assert got.name == name
        assert got.classes == 10
        assert got.has_validation_head == (split == "train")
    statuses = {status for _, status, _ in data.verify(name)}
    assert statuses == {"not checkable" if raw and name != "mnist" else "ok"}


def test_looks_in_mulligan_data_then_in_the_cache(source: Path, tmp_path: Path) -> None:
    assert data.locate("mnist") is None
    cached = put(source, tmp_path / "cache" / "mulligan" / "mnist")
    assert data.locate("mnist") == cached
    own = put(source, tmp_path / "own" / "mnist")
    assert data.locate("mnist") == own
    (own / f"{FILES[2]}.gz").unlink()
    assert data.locate("mnist") == cached


@pytest.mark.skipif(sys.platform != "linux", reason="the cache has another place there")
def test_the_cache_without_any_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("MULLIGAN_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert named.folders("kmnist") == [tmp_path / ".cache" / "mulligan" / "kmnist"]


@pytest.mark.parametrize("name", NAMED)
def test_a_damaged_file_is_named_and_fetch_mends_it(source: Path, tmp_path: Path, name: str) -> None:
    folder = put(source, tmp_path / "own" / name)
    bad = folder / f"{FILES[0]}.gz"
    bad.write_bytes(gzip.compress(idx_bytes(255 - ARRAYS[0])))
    with pytest.raises(UserError, match=f"{FILES[0]}.*checksum.*`mulligan data fetch {name}` mends it"):
        data.load(name)
    assert [status for _, status, _ in data.verify(name)] == ["damaged", "ok", "ok", "ok"]
    data.load(name, split="test")
    assert data.fetch(name) == folder
    data.load(name)
    assert bad.read_bytes() == (source / bad.name).read_bytes()


def test_a_raw_file_of_the_wrong_shape_is_damaged(source: Path, tmp_path: Path) -> None:
    folder = put(source, tmp_path / "own" / "kmnist", raw=True)
    (folder / FILES[1]).write_bytes(idx_bytes(ARRAYS[3]))
    with pytest.raises(UserError, match=r"expected shape \[6\], got \[4\]"):
        data.load("kmnist")
    (folder / FILES[1]).write_bytes(idx_bytes(np.full(6, 10, np.uint8)))
    with pytest.raises(UserError, match=r"has label 10, expected 0\.\.9"):
        data.load("kmnist")


def test_fetch_takes_only_what_is_missing(source: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    folder = data.fetch("mnist", progress=lambda *now: seen.append(now))
    assert folder == tmp_path / "own" / "mnist"
    sizes = [(source / f"{file}.gz").stat().st_size for file in FILES]
    assert [done for done, _ in seen] == np.cumsum(sizes).tolist()
    (folder / f"{FILES[3]}.gz").unlink()
    seen.clear()
    data.fetch("mnist", progress=lambda *now: seen.append(now))
    assert [done for done, _ in seen] == sizes[3:]
    elsewhere = data.fetch("mnist", to=tmp_path / "to")
    assert sorted(p.name for p in elsewhere.iterdir()) == sorted(f"{file}.gz" for file in FILES)


def test_fetch_from_a_mirror_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "download", download.download)
    with pytest.raises(UserError) as caught:
        data.fetch("mnist", mirrors=["http://127.0.0.1:1/"], retries=0)
    message = str(caught.value)
    assert f"http://127.0.0.1:1/{FILES[0]}.gz: " in message
    folders = (tmp_path / "own" / "mnist", tmp_path / "cache" / "mulligan" / "mnist")
    for way_out in (*folders, "--data mnist-synth"):
        assert str(way_out) in message


def test_missing_sets() -> None:
    with pytest.raises(UserError, match=r"kmnist is not here .*`mulligan data fetch kmnist` gets it"):
        data.load("kmnist", fetch_missing=False)
    assert [status for _, status, _ in data.verify("kmnist")] == ["missing"] * 4
    assert len(data.load("kmnist")) == 6  # fetched
    for call in (data.fetch, data.verify, data.locate):
        with pytest.raises(UserError, match="did you mean 'mnist'"):
            call("mnits")


def test_auto(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synth, "SIZES", {"train": 300, "test": 100})
    for fetching, reason in ((True, "no mirror of it answers"), (False, "fetching is off")):
        drawn = data.load("auto", fetch_missing=fetching)
        assert drawn.name == "mnist-synth"
        assert drawn.image_shape == (1, 28, 28)
        assert reason in drawn.note
    assert data.load("auto", fetch_missing=False, size=32).image_shape == (1, 32, 32)
    assert len(data.load("auto", fetch_missing=False, split="test")) == 100
    labels = source / f"{FILES[1]}.gz"
    labels.rename(tmp_path / "aside")
    monkeypatch.setattr(data, "reachable", lambda *_: True)
    assert "fetching it failed" in data.load("auto").note
    (tmp_path / "aside").rename(labels)
    assert data.load("auto").note == "auto chose mnist, and fetched it."
    assert data.load("auto").note == "auto chose mnist, which is here."
    # Damage is said, never passed over in favour of another set.
    (tmp_path / "own" / "mnist" / labels.name).write_bytes(b"")
    with pytest.raises(UserError, match="data fetch mnist"):
        data.load("auto")


def test_paths(source: Path, tmp_path: Path) -> None:
    idx = data.load(str(source))
    assert idx.name == str(source)
    assert len(idx) == 6
    assert not idx.has_validation_head
    assert idx.classes == int(ARRAYS[1].max()) + 1
    assert len(data.load(str(source), split="test")) == 4
    (source / f"{FILES[3]}.gz").unlink()
    with pytest.raises(UserError, match=f"has no {FILES[3]}"):
        data.load(str(source), split="test")

    data.write_npz(tmp_path / "set.npz", ARRAYS[0][:, None, :20], ARRAYS[1])
    npz = data.load(str(tmp_path / "set.npz"))
    assert npz.image_shape == (1, 20, 28)  # not square, kept as it is
    assert npz.class_names == tuple(str(i) for i in range(int(ARRAYS[1].max()) + 1))
    assert data.load(str(tmp_path / "set.npz"), size=16).image_shape == (1, 16, 16)

    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (50, 40), "red").save(tmp_path / "pictures" / "a.png")
    assert data.load(str(tmp_path / "pictures")).image_shape == (3, 28, 28)
    assert data.load(str(tmp_path / "pictures"), default_size=64).image_shape == (3, 64, 64)
    assert data.load(str(tmp_path / "pictures"), size=16, default_size=64).image_shape == (3, 16, 16)


def test_size_resizes_any_set(source: Path) -> None:
    assert data.load(str(source), size=32).image_shape == (1, 32, 32)
    assert data.load("digits", size=16, default_size=28).image_shape == (1, 16, 16)
    assert data.load("digits").image_shape == (1, 28, 28)
    with pytest.raises(UserError, match=r"expected 1\.\.1024 pixels, got -1"):
        data.load("digits", size=-1)


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("")
    for source, split, said in (
        ("mnsit", "train", "neither a set nor a path that exists .did you mean 'mnist'"),
        ("fashion", "train", "did you mean 'fashion-mnist'"),
        (str(tmp_path / "file.txt"), "train", "expected a folder or an .npz file"),
        (str(tmp_path), "train", "no images"),
        (str(tmp_path), "test", "has no 'test' split"),
        ("digits", "test", "has no 'test' split"),
        ("digits", "tset", "did you mean 'test'"),
    ):
        with pytest.raises(UserError, match=said):
            data.load(source, split=split)


def test_commands(tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = run(app, ["list"]).output
    for name in data.DATASETS:
        assert name in listed
    assert "not here: `mulligan data fetch mnist`" in listed
    assert isinstance(run(app, ["verify", "mnist"]).exception, RunError)
    fetched = run(app, ["fetch", "mnist"])
    assert fetched.exit_code == 0
    assert str(tmp_path / "own" / "mnist") in fetched.output
    assert str(tmp_path / "own" / "mnist") in run(app, ["list"]).output
    verified = run(app, ["verify", "mnist"])
    assert verified.exit_code == 0
    assert verified.output.count("ok ") == 4
    assert isinstance(run(app, ["fetch", "mnsit"]).exception, UserError)


@pytest.mark.mnist
def test_the_real_mnist() -> None:
    train, test = data.load("mnist"), data.load("mnist", split="test")
    assert train.images.shape == (60_000, 1, 28, 28)
    assert test.images.shape == (10_000, 1, 28, 28)
    assert train.labels is not None
    assert train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert train.has_validation_head
    assert round(float(train.images.mean()) / 255, 4) == 0.1307
    assert {status for _, status, _ in data.verify("mnist")} == {"ok"}
    assert data.locate("mnist") == Path(os.environ["MULLIGAN_DATA"], "mnist")
    assert data.load("auto").name == "mnist"
