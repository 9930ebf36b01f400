"""Everything a user can get wrong: one line that says what and where, exit code 2, and nothing written.

The table below is the whole list. What is odd but fine, such as a folder of mixed sizes, comes last.
"""

from __future__ import annotations

import errno
import gzip
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mulligan
from mulligan import data
from mulligan.data.idx import idx_bytes
from mulligan.data.named import FILES
from support import command, small

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (130, 28, 28), dtype=np.uint8)
LABELS = (np.arange(130) % 3).astype(np.uint8)

Files = Mapping[str, bytes]


def png(pixels: Any, *, cut: int | None = None, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, kind)
    return buffer.getvalue()[:cut]


def bomb(width: int, height: int) -> bytes:
    """A few bytes that declare a picture of any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def zipped(member: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", member)
    return buffer.getvalue()


def npy(shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (118 - len(header) - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def pair(images: bytes | None, labels: bytes | None) -> Files:
    """The two files of a training set, as MNIST's are named."""
    files = {FILES[0]: images, FILES[1]: labels}
    return {f"set/{name}": data for name, data in files.items() if data is not None}


IDX_IMAGES, IDX_LABELS = idx_bytes(PIXELS), idx_bytes(LABELS)
GOOD = png(PIXELS[0])
FOLDER: Files = {f"set/{i:03d}.png": png(PIXELS[i]) for i in range(130)}
SET = ("--data", "set")
DIGITS = ("--data", "digits")


def on(option: str, *more: str) -> tuple[str, ...]:
    return ("--set", option, *more)


@dataclass(frozen=True)
class Bad:
    """A command that cannot work, the files it finds, and what its one line must say."""

    arguments: tuple[str, ...]
    said: tuple[str, ...]
    files: Files = field(default_factory=dict)


def train(*arguments: str, recipe: str = "mlp-relu") -> tuple[str, ...]:
    return ("train", recipe, *arguments)


def recipe_file(text: str | bytes) -> Files:
    return {"mine.toml": text.encode() if isinstance(text, str) else text}


MINE = train(*DIGITS, recipe="mine.toml")
R1 = on("penalty.r1=1")
BATCH_2 = on("data.batch=2")

TABLE: dict[str, Bad] = {
    # Words of the command line
    "an unknown command": Bad(("trian",), ("'train'",)),
    "an unknown option": Bad(train("--stesp", "3"), ("--stesp", "--steps")),
    "an option without its value": Bad(train("--steps"), ("--steps",)),
    "one argument too many": Bad(train("mlp-tanh"), ("mlp-tanh",)),
    "no steps": Bad(train("--steps", "0"), ("--steps", "or equal to 1")),
    "a number that is none": Bad(train("--images", "many"), ("--images", "integer")),
    "no minutes": Bad(train("--minutes", "0"), ("--minutes 0", "above 0")),
    "endless minutes": Bad(train(*DIGITS, "--minutes", "inf"), ("budget.minutes", "inf")),
    "a negative seed": Bad(train("--seed", "-1"), ("--seed",)),
    "a size out of range": Bad(train(*DIGITS, "--size", "7"), ("--size", "or equal to 8")),
    "an unknown device": Bad(train(*DIGITS, "--device", "cdua"), ("--device cdua", "'cuda'")),
    # Recipes: which
    "an unknown recipe": Bad(train(recipe="mlp-rleu"), ("'mlp-rleu'", "'mlp-relu'")),
    "a recipe file that is not there": Bad(train(recipe="./mlp-rel.toml"), ("mlp-rel.toml", "No such file")),
    "a recipe that is a folder": Bad(MINE, ("mine.toml", "Is a directory"), {"mine.toml/x": b""}),
    "a recipe that is not TOML": Bad(MINE, ("mine.toml", "not valid TOML"), recipe_file("name = ")),
    "a recipe that is not UTF-8": Bad(
        MINE, ("mine.toml", "UTF-8"), recipe_file("name = 'é'".encode("latin-1"))
    ),
    "a recipe of 2 MiB": Bad(MINE, ("mine.toml", "1 MiB"), recipe_file(b"#" * (2 << 20))),
    "a recipe nested deeply": Bad(MINE, ("mine.toml",), recipe_file("name = " + "[" * 5000)),
    "an empty recipe": Bad(MINE, ("mine.toml", "name is missing"), recipe_file("")),
    "a recipe of an unknown one": Bad(MINE, ("'mlp-smooth'",), recipe_file('extends = "mlp-smoth"')),
    # Recipes: keys, types, ranges
    "an unknown table": Bad(train(*DIGITS, *on("dta.batch=3")), ("dta is not a key", "'data'")),
    "an unknown key": Bad(train(*DIGITS, *on("data.bacth=3")), ("data.bacth is not a key", "'batch'")),
    "an unknown objective": Bad(
        train(*DIGITS, *on("objective.kind=wasserstien")), ("objective.kind", "did you mean 'wasserstein'")
    ),
    "an unknown network": Bad(train(*DIGITS, *on("generator.kind=resnt")), ("generator.kind", "'resnet'")),
    "an unknown penalty": Bad(train(*DIGITS, *on("penalty.r3=1")), ("penalty.r3 is not a key",)),
    "an unknown policy": Bad(
        train(*DIGITS, *on('augment.policy=["colour"]')), ("augment.policy.0", "did you mean 'color'")
    ),
    "an override without a value": Bad(train(*DIGITS, *on("data.batch")), ("--set", "data.batch", "=")),
    "a word for a number": Bad(train(*DIGITS, *on("data.batch=big")), ("data.batch", "integer", "'big'")),
    "a fraction for a count": Bad(train(*DIGITS, *on("data.batch=64.0")), ("data.batch", "integer")),
    "a number for a list": Bad(train(*DIGITS, *on("generator.hidden=128")), ("generator.hidden", "list")),
    "a number for a table": Bad(train(*DIGITS, *on("generator=3")), ("generator",)),
    "an empty batch": Bad(train(*DIGITS, *on("data.batch=0")), ("data.batch", "1", "0")),
    "a label that is not below one": Bad(
        train(*DIGITS, *on("objective.real_label=1.1")), ("objective.real_label", "1.1")
    ),
    "a negative weight": Bad(train(*DIGITS, *on("penalty.r1=-1")), ("penalty.r1", "from 0", "-1")),
    "a rate that is no number": Bad(
        train(*DIGITS, *on("optimizer.generator.lr=nan")), ("optimizer.generator.lr", "nan")
    ),
    "a curve that turns back": Bad(
        train(*DIGITS, *on("augment.noise={images=[5, 5], values=[1, 0]}")),
        ("augment.noise", "images must increase"),
    ),
    "a curve with a point too few": Bad(
        train(*DIGITS, *on("penalty.r1={images=[0, 5], values=[1, 0, 2]}")),
        ("penalty.r1", "2 images but 3 values"),
    ),
    "a curve out of range": Bad(
        train(*DIGITS, *on("optimizer.generator.beta2={images=[0, 5], values=[0.9, 1]}")),
        ("optimizer.generator.beta2", "to below 1", "got 1"),
    ),
    # Recipes: settings that contradict each other; tests/test_axes.py has a row for each kind
    "pixels that no output reaches": Bad(
        train(*DIGITS, *on("data.pixels=[-1, 1]")), ("data.pixels", "'sigmoid'", "use [0, 1]")
    ),
    "smoothing where it means nothing": Bad(
        train(*DIGITS, *on('objective={kind="hinge", real_label=0.9}')),
        ("objective", "real_label", "'hinge'"),
    ),
    "a penalty beside BatchNorm": Bad(
        train(*DIGITS, *R1, *on("discriminator.norm=batch")), ("penalty.r1", "use discriminator.norm 'none'")
    ),
    "packs that do not fill a batch": Bad(
        train(*DIGITS, *on("step.pack=3")), ("data.batch 128", "packed by 3", "use 129")
    ),
    # Data: which
    "an unknown set": Bad(train("--data", "digist"), ("'digist'", "'digits'")),
    "a folder that is not there": Bad(
        train("--data", "./nowhere"), ("./nowhere", "neither a set nor a path")
    ),
    "a file that is no data": Bad(train(*SET), ("set: expected a folder or an .npz file",), {"set": b"x"}),
    # Data: IDX
    "IDX images without labels": Bad(
        train(*SET), ("has no train-labels-idx1-ubyte",), pair(IDX_IMAGES, None)
    ),
    "IDX labels without images": Bad(
        train(*SET), ("has no train-images-idx3-ubyte",), pair(None, IDX_LABELS)
    ),
    "an empty IDX file": Bad(train(*SET), ("not an IDX file", "nothing"), pair(b"", IDX_LABELS)),
    "an IDX file that is none": Bad(train(*SET), ("not an IDX file",), pair(b"hello world", IDX_LABELS)),
    "an IDX file of floats": Bad(
        train(*SET), ("type 0x0d", "expected 0x08"), pair(b"\0\0\x0d\3" + IDX_IMAGES[4:], IDX_LABELS)
    ),
    "a truncated IDX file": Bad(train(*SET), ("cut short", "130×28×28"), pair(IDX_IMAGES[:-1], IDX_LABELS)),
    "an IDX file that is too long": Bad(train(*SET), ("more than",), pair(IDX_IMAGES + b"x", IDX_LABELS)),
    "an IDX file that declares 16 GiB": Bad(
        train(*SET),
        ("more than 4 GiB",),
        pair(struct.pack(">HBB3I", 0, 8, 3, 1 << 24, 32, 32), IDX_LABELS),
    ),
    "a damaged gzip of IDX": Bad(train(*SET), ("gzip",), pair(gzip.compress(IDX_IMAGES)[:-9], IDX_LABELS)),
    "IDX labels for images": Bad(train(*SET), ("expected images (IDX3)",), pair(IDX_LABELS, IDX_LABELS)),
    "IDX labels of another count": Bad(
        train(*SET), ("129 labels for the 130 images",), pair(IDX_IMAGES, idx_bytes(LABELS[:-1]))
    ),
    # Data: npz
    "an empty npz": Bad(train("--data", "x.npz"), ("x.npz: not an .npz archive",), {"x.npz": b""}),
    "an npz that is none": Bad(
        train("--data", "x.npz"), ("x.npz: not an .npz",), {"x.npz": b"PK" + bytes(99)}
    ),
    "a truncated npz": Bad(
        train("--data", "x.npz"), ("x.npz: not an .npz archive",), {"x.npz": npz(images=PIXELS)[:-40]}
    ),
    "a corrupt npz": Bad(
        train("--data", "x.npz"),
        ("x.npz: not an .npz archive, or a damaged one",),
        {"x.npz": npz(images=PIXELS).replace(PIXELS[7].tobytes(), PIXELS[8].tobytes())},
    ),
    "an npz without images": Bad(
        train("--data", "x.npz"), ("x.npz: has no key 'images'", "'image'"), {"x.npz": npz(image=PIXELS)}
    ),
    "an npz of floats": Bad(
        train("--data", "x.npz"), ("expected uint8", "multiply by 255"), {"x.npz": npz(images=PIXELS / 255)}
    ),
    "an npz of objects": Bad(
        train("--data", "x.npz"), ("got object",), {"x.npz": npz(images=np.array([None] * 3, dtype=object))}
    ),
    "an npz of two channels": Bad(
        train("--data", "x.npz"), ("1 or 3 channels",), {"x.npz": npz(images=PIXELS.reshape(65, 2, 28, 28))}
    ),
    "an npz that declares 8 GiB": Bad(
        train("--data", "x.npz"), ("more than 4 GiB",), {"x.npz": zipped(npy("(8388608, 32, 32)"))}
    ),
    "an npz that declares more than it holds": Bad(
        train("--data", "x.npz"), ("but the archive holds",), {"x.npz": zipped(npy("(9, 28, 28)", bytes(99)))}
    ),
    "an npz with labels of another count": Bad(
        train("--data", "x.npz"),
        ("129 labels for 130 images",),
        {"x.npz": npz(images=PIXELS, labels=LABELS[1:])},
    ),
    "an npz with negative labels": Bad(
        train("--data", "x.npz"),
        ("'labels'", "got -1"),
        {"x.npz": npz(images=PIXELS, labels=LABELS - np.int64(1))},
    ),
    "an npz with a million classes": Bad(
        train("--data", "x.npz"),
        ("K at most 1000",),
        {"x.npz": npz(images=PIXELS, labels=LABELS * np.int64(500_000))},
    ),
    # Data: folders
    "an empty folder": Bad(train(*SET), ("set: no images in it", ".png"), {"set/": b""}),
    "a folder without images": Bad(train(*SET), ("set: no images in it",), {"set/notes.txt": b"x"}),
    "a file that is no image": Bad(train(*SET), ("set/x.png: not an image",), {**FOLDER, "set/x.png": b"x"}),
    "a truncated image": Bad(
        train(*SET), ("set/x.png: not an image",), {**FOLDER, "set/x.png": GOOD[: len(GOOD) // 2]}
    ),
    "a truncated JPEG": Bad(
        train(*SET),
        ("set/x.jpg: not an image",),
        {**FOLDER, "set/x.jpg": png(PIXELS[0], kind="JPEG", cut=300)},
    ),
    "an image of another kind": Bad(
        train(*SET), ("set/x.png: not an image",), {**FOLDER, "set/x.png": png(PIXELS[0], kind="TIFF")}
    ),
    "a decompression bomb": Bad(
        train(*SET),
        ("set/x.png: declares more than 64 megapixels",),
        {**FOLDER, "set/x.png": bomb(40_000, 40_000)},
    ),
    "an image just too large": Bad(
        train(*SET),
        ("set/x.png: declares more than 64 megapixels",),
        {**FOLDER, "set/x.png": bomb(8001, 8001)},
    ),
    "images beside classes": Bad(
        train(*SET), ("set", "at its top", "in sub-folders"), {"set/a.png": GOOD, "set/cats/b.png": GOOD}
    ),
    "folders in classes": Bad(
        train(*SET), ("a folder inside the class folder 'cats'",), {"set/cats/old/b.png": GOOD}
    ),
    # Data that a recipe cannot be trained on
    "fewer images than a batch": Bad(
        train(*SET), ("data.batch 128", "only 3 images", "use 3 or less"), dict([*FOLDER.items()][:3])
    ),
    "no labels for a conditional recipe": Bad(
        train(*SET, *on("condition.kind=concat")), ("condition.kind 'concat' needs labels",), FOLDER
    ),
    "a batch of one for BatchNorm": Bad(
        train(*SET, *on("data.batch=1"), *on("generator.norm=batch")), ("data.batch 1", "use 2"), FOLDER
    ),
    "a size for tutorial-dcgan": Bad(
        train(*DIGITS, "--size", "30", recipe="dcgan-softmax"), ("'tutorial-dcgan'", "30×30", "use --size 32")
    ),
    "a size for dcgan": Bad(
        train(*DIGITS, "--size", "31", *on("generator.kind=dcgan")), ("'dcgan'", "31×31", "use --size 32")
    ),
    "a size for resnet": Bad(
        train(*DIGITS, "--size", "50", *on("discriminator.kind=resnet")),
        ("'resnet'", "50×50", "use --size 48"),
    ),
    "a size for points": Bad(train("--data", "ring-8", "--size", "28"), ("ring-8", "have no size")),
    "points for painters": Bad(
        train("--data", "ring-8"), ("generator.output 'sigmoid'", "use the recipe 'points'")
    ),
    "images for a plane": Bad(
        train(*DIGITS, *on("generator.output=linear")), ("generator.output 'linear'", "use 'tanh'")
    ),
    "networks too large for any machine": Bad(
        train(*DIGITS, *on("generator.hidden=[16384, 16384, 16384]")), ("500,000,000", "smaller widths")
    ),
    # Where to
    "a directory that is not empty": Bad(
        train(*DIGITS, "--out", "there"), ("--out there: is not empty",), {"there/mine.txt": b"mine"}
    ),
    "a directory that is a file": Bad(
        train(*DIGITS, "--out", "there"),
        ("--out there: is a file: name a new directory",),
        {"there": b"mine"},
    ),
    "a directory below a file": Bad(
        train(*DIGITS, "--out", "there/run"), ("cannot write a run to there/run",), {"there": b"mine"}
    ),
    "a name that is too long": Bad(train(*DIGITS, "--out", "x" * 300), ("cannot write a run", "too long")),
    "runs that is a file": Bad(train(*DIGITS), ("cannot write a run to runs",), {"runs": b"mine"}),
    # Models
    "a model that is not there": Bad(("generate", "nowhere"), ("nowhere: no such run directory",)),
    "a model that is none": Bad(("generate", "x"), ("x: cannot be read as a checkpoint",), {"x": b"x" * 99}),
    "an empty model": Bad(("info", "x"), ("x: cannot be read as a checkpoint",), {"x": b""}),
    "a directory without a model": Bad(("info", "x"), ("x: no checkpoint here",), {"x/notes.txt": b"x"}),
    "a run that is not there": Bad(("resume", "nowhere"), ("nowhere: no such run directory",)),
    "a directory without a run": Bad(("resume", "x"), ("x: no checkpoint here",), {"x/notes.txt": b"x"}),
    "no labels at all": Bad(("generate", "RUN", "--labels", ""), ("--labels", "2,0,2,6")),
    "labels that are no numbers": Bad(
        ("generate", "RUN", "--labels", "two"), ("labels: there is no class 'two'",)
    ),
    "a label that is out of range": Bad(
        ("generate", "RUN", "--labels", "3"), ("labels: expected 0..2, got 3",)
    ),
    "labels of another count": Bad(
        ("generate", "RUN", "--labels", "1,2", "-n", "3"), ("one for all or one for each of 3 images, got 2",)
    ),
    "labels along a walk": Bad(
        ("generate", "RUN", "--labels", "1,2", "--interpolate", "2", "--out", "x.gif"),
        ("keeps to one label",),
    ),
    "an ending that is not known": Bad(("generate", "RUN", "--out", "x.jpg"), ("cannot write .jpg",)),
    "a walk of so many images": Bad(
        ("generate", "RUN", "-n", "9", "--interpolate", "2", "--out", "x.gif"), ("-n 9", "8 images")
    ),
    "a walk without steps": Bad(("generate", "RUN", "--out", "x.gif"), ("--interpolate",)),
    "a walk into a still picture": Bad(
        ("generate", "RUN", "--interpolate", "3", "--out", "x.png"), ("FILE.gif or FILE.webp",)
    ),
    "no images": Bad(("generate", "RUN", "-n", "0"), ("-n",)),
    "a grid too large": Bad(("generate", "RUN", "-n", "10001"), ("10,000",)),
    "pictures below a file": Bad(
        ("generate", "RUN", "--out", "there/x.png"),
        ("--out there/x.png: cannot be written",),
        {"there": b"mine"},
    ),
    "pictures into a folder that is not empty": Bad(
        ("generate", "RUN", "--out", "there/"), ("is not empty",), {"there/mine.txt": b"mine"}
    ),
}


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three classes, which the table calls RUN."""
    folder = tmp_path_factory.mktemp("conditional")
    few = data.Dataset("few", PIXELS[:, None], LABELS.astype(np.int64), ("a", "b", "c"))
    overrides = (*small("mlp"), "condition.kind=concat")
    return mulligan.train("mlp-relu", data=few, steps=1, out=folder / "run", overrides=overrides).directory


def lay(files: Files, folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.write_bytes(content)


def tree(*folders: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below: names, times and bytes."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for folder in folders
        for path in [folder, *folder.rglob("*")]
    }


def refuse(bad: Bad, run: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(bad.files, here)
    before = tree(here, run)
    assert command(*(str(run) if word == "RUN" else word for word in bad.arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"mulligan: \S.*\S\n", printed.err), printed.err
    assert len(printed.err) < 500
    for part in bad.said:
        assert part in printed.err
    assert tree(here, run) == before


@pytest.mark.parametrize("name", TABLE)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(
    name: str,
    conditional: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    refuse(TABLE[name], conditional, tmp_path, capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("arguments", [train(*DIGITS), ("generate", "RUN"), ("resume", "RUN", *DIGITS)])
def test_a_device_that_is_not_there(
    arguments: tuple[str, ...],
    conditional: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = Bad((*arguments, "--device", "cuda"), ("--device cuda", "use --device cpu"))
    refuse(bad, conditional, tmp_path, capsys)


@pytest.mark.parametrize(
    "arguments", [train(*DIGITS, "--out", "there/run"), ("generate", "RUN", "--out", "there/x.png")]
)
def test_a_place_that_may_not_be_written(
    arguments: tuple[str, ...],
    conditional: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever runs this may well be the superuser, who may write anywhere."""

    def forbidden(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "mkdir", forbidden)
    refuse(Bad(arguments, ("there", "Permission denied")), conditional, tmp_path, capsys)


# What is odd, but fine ---------------------------------------------------------------------------

SHAPES: list[tuple[int, ...]] = [(28, 28), (20, 50), (90, 30), (300, 300), (40, 25, 3)]
SQUARE, WIDE, TALL, LARGE, COLOURED = (RNG.integers(0, 256, shape, dtype=np.uint8) for shape in SHAPES)


def transparent() -> bytes:
    image = Image.fromarray(COLOURED).convert("RGBA")
    image.putalpha(Image.new("L", image.size, 99))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


FINE: dict[str, tuple[Callable[[], list[bytes]], int]] = {
    "mixed sizes": (lambda: [png(SQUARE), png(WIDE), png(TALL), png(LARGE)], 1),
    "grey and colour": (lambda: [png(SQUARE), png(COLOURED), png(WIDE), transparent()], 3),
    "other depths": (lambda: [png(SQUARE), deep(), png(WIDE), bilevel()], 1),
}


def deep() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(LARGE.astype(np.uint16) * 257).save(buffer, "PNG")
    return buffer.getvalue()


def bilevel() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(TALL).convert("1").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", FINE)
def test_odd_images_are_cropped_resized_and_brought_to_one_mode(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make, channels = FINE[name]
    lay({f"set/{i}.png": data for i, data in enumerate(make())}, tmp_path)
    Path("set/notes.txt").write_text("not looked at")
    overrides = [word for option in (*small("mlp"), "data.batch=4") for word in on(option)]
    assert command(*train(*SET, "--steps", "2", "--out", "run", *overrides)) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"4 images of {channels}×28×28" in printed.out
    loaded = data.load("set")
    assert loaded.images.shape == (4, channels, 28, 28)
    assert (loaded.images[0] == SQUARE).all()  # as it was, in every channel
    assert mulligan.load("run").sample(2).shape == (2, channels, 28, 28)


def test_an_image_is_cut_to_its_centred_square(tmp_path: Path) -> None:
    lay({"set/a.png": png(WIDE)}, tmp_path)
    cut = Image.fromarray(WIDE[:, 15:35]).resize((28, 28), Image.Resampling.LANCZOS)
    loaded = data.load(str(tmp_path / "set"))
    assert (loaded.images[0, 0] == np.asarray(cut)).all()
