"""Fuzz every reader of what comes from outside: only a UserError of one line may come out.

    python benchmarks/fuzz.py --seconds 60 --out docs/figures/fuzz.md

Valid files are damaged by seeded mutations: bits flipped, bytes cut, moved and spliced, numbers
and words replaced by nasty ones, both in the file itself and inside whatever wraps it (gzip, zip,
a PNG's checksummed chunks, a checkpoint's JSON). Batches of cases run in processes of their own
with bounded memory (RLIMIT_AS) and a time limit for each case. Whatever is read all the same must
be sound: a recipe must survive being written, images must have the documented shape, a checkpoint
must draw.

Exit code 1 if any case ended in another exception, a warning, words on stderr, a crash or a hang;
each is printed with the command that repeats it. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import platform
import random
import re
import resource
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

BATCH = 2000  # cases in one process
MEMORY = 1 << 30  # bytes that a reader may take beyond what the process has after its imports
LIMIT = 10.0  # seconds for one case
LONGEST = 2000  # characters of a line that is still one

NASTY_BYTES = (
    b"",
    b"\0",
    b"\xff",
    b"\n",
    b"\r\n",
    b"\x1b[2J",
    b"../",
    b"\0" * 64,
    b"A" * 5000,
    b"%n",
    "𝔘é".encode(),
)
NASTY_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
NASTY_VALUES = (
    "0", "-1", "1", "2", "3.5", "-0.0", "1e308", "-1e308", "1e400", "nan", "inf", "-inf", "9" * 30,
    "9" * 5000, "0x7fffffffffffffff", "true", "false", '""', "''", '"mlp"', '"dcgan"', '"resnet"', '"none"',
    '"batch"', '"\\u0000"', '"a\\nb"', '"' + "x" * 3000 + '"', "[]", "[[]]", "[0]", "[1, 2]", "[-1, 1]",
    "[nan, 1]", "[1, 'a']", "{}", "{kind = 'none'}", "{kind = 3}", "{images = [0, 1], values = [1, 2]}",
    "{images = [0, 1], values = [1e6, -1e6]}", "{images = [1, 0], values = [1]}", "1979-05-27", "07:32:00",
    "1979-05-27T07:32:00Z", "[" * 300 + "]" * 300, "[" * 3000, "{a = " * 100 + "1" + "}" * 100, "'''",
    '"', "", "=",
)  # fmt: skip
NASTY_JSON: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2, 3.5, 1e308, float("nan"), float("inf"), 10**30, 2**63, "", "x", "x" * 3000, "\0",
    "\n", "\ud800", [], [[]], [0], [-1], [1] * 2000, {}, {"kind": 3}, [1, 28, 28], [1, 1024, 1024], [3, 1, 1],
    "none", "concat", "mlp", "resnet", [0.5, 0.1], {"images": [0, 1], "values": [0, 1]},
)  # fmt: skip


# Mutations ---------------------------------------------------------------------------------------


def damage(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Change a few places of ``data``; ``other`` is another valid file to splice from."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data = rng.choice(BYTE_CHANGES)(rng, data, other)
    return data


def _flip(rng: random.Random, data: bytes, _other: bytes) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[_early(rng, len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _set(rng: random.Random, data: bytes, _: bytes) -> bytes:
    at = _early(rng, len(data))
    return data[:at] + bytes([rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))]) + data[at + 1 :]


def _number(rng: random.Random, data: bytes, _: bytes) -> bytes:
    at, kind = _early(rng, len(data)), rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(kind)
    return data[:at] + struct.pack(kind, rng.choice(NASTY_NUMBERS) % 256**size) + data[at + size :]


def _cut(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _take_out(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + data[stop:]


def _repeat(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:stop] + data[start:stop][:10_000] * rng.choice((1, 1, 2, 20)) + data[stop:]


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    at, start, stop = rng.randrange(len(data) + 1), *sorted(rng.randrange(len(other) + 1) for _ in range(2))
    keep = at + (stop - start if rng.random() < 0.5 else 0)
    return data[:at] + other[start:stop] + data[keep:]


def _insert(rng: random.Random, data: bytes, _: bytes) -> bytes:
    at = _early(rng, len(data))
    return data[:at] + rng.choice(NASTY_BYTES) + data[at:]


BYTE_CHANGES: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    _flip, _flip, _set, _number, _number, _cut, _take_out, _repeat, _splice, _insert,
)  # fmt: skip


def _early(rng: random.Random, length: int) -> int:
    """Pick a place, as often as not near the beginning, where headers are."""
    return rng.randrange(max(1, min(length, 200) if rng.random() < 0.5 else length))


# Readers: valid files, how they are damaged from within, and how they are read -------------------


class Reader:
    """One reader, its valid files, and what must hold of whatever it accepts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.valid = self.make()

    def make(self) -> list[bytes]:
        """Return valid files."""
        raise NotImplementedError

    def within(self, rng: random.Random, data: bytes) -> bytes:
        """Damage what a file wraps, and wrap it again."""
        return damage(rng, data, rng.choice(self.valid))

    def read(self, rng: random.Random, data: bytes) -> None:
        """Read a file; raise AssertionError if what comes out is not sound."""
        raise NotImplementedError

    def attempt(self, rng: random.Random) -> None:
        """Damage one file and read it."""
        data = rng.choice(self.valid)
        if rng.random() < 0.5:
            data = self.within(rng, data)
        if rng.random() < 0.5:
            data = damage(rng, data, rng.choice(self.valid))
        self.read(rng, data)


class Recipes(Reader):
    """The recipe reader: TOML text, and ``key=value`` overrides."""

    def make(self) -> list[bytes]:
        from mulligan import recipe

        whole = [recipe.read(name).to_toml().encode() for name in recipe.names()]
        self.keys = sorted({key for text in whole for key in re.findall(r"^(\w+) =", text.decode(), re.M)})
        tables = {table for text in whole for table in re.findall(r"^\[(.+)\]", text.decode(), re.M)}
        self.paths = [f"{table}.{key}" for table in sorted(tables) for key in self.keys] + self.keys
        return [*whole, *(recipe.text(name).encode() for name in recipe.names())]

    def within(self, rng: random.Random, data: bytes) -> bytes:
        """Replace values, keys and whole lines by others of their kind."""
        lines = data.decode().splitlines()
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(lines))
            key, equals, _value = lines[at].partition("=")
            what = rng.randrange(6)
            if what < 3 and equals:
                lines[at] = f"{key}= {rng.choice(NASTY_VALUES)}"
            elif what == 3:
                lines[at] = f"{rng.choice(self.keys)} = {rng.choice(NASTY_VALUES)}"
            elif what == 4:
                lines.insert(at, rng.choice(rng.choice(self.valid).decode().splitlines()))
            else:
                del lines[at : at + rng.choice((1, 1, 3))]
            lines = lines or [""]
        extends = rng.choice(
            ('extends = "mlp-relu"\n', "extends = 3\n", 'extends = "../x"\n', "", "", "", "")
        )
        return (extends + "\n".join(lines)).encode()

    def read(self, rng: random.Random, data: bytes) -> None:
        """A recipe that was read can be written, and read again as the same."""
        from mulligan import recipe

        path = self.folder / "fuzz.toml"
        path.write_bytes(data)
        overrides = [
            f"{rng.choice(self.paths)}{rng.choice('===. ')}{rng.choice(NASTY_VALUES)}"
            for _ in range(rng.choice((0, 0, 1, 2)))
        ]
        if rng.random() < 0.3:
            overrides += [
                damage(rng, b"optimizer.generator.lr=2e-4", data[:300]).decode(errors="surrogateescape")
            ]
        source = path if rng.random() < 0.7 else rng.choice(recipe.names())
        chosen = recipe.read(source, overrides)
        path.write_text(chosen.to_toml(), encoding="utf-8")
        assert recipe.read(path) == chosen


class Idx(Reader):
    """IDX, raw and gzip."""

    def make(self) -> list[bytes]:
        import numpy as np

        from mulligan.data.idx import idx_bytes

        pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
        raw = [idx_bytes(pixels), idx_bytes(pixels[:2, :4, :4]), idx_bytes(pixels[:, 0, 0])]
        return [*raw, *(gzip.compress(data, mtime=0) for data in raw)]

    def within(self, rng: random.Random, data: bytes) -> bytes:
        """Damage the values, and compress them rightly."""
        raw = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        packed = gzip.compress(damage(rng, raw, rng.choice(self.valid)), mtime=0)
        return packed + rng.choice((b"", b"", packed, bytes(9)))

    def read(self, rng: random.Random, data: bytes) -> None:
        """Values are uint8, as many as there are, and pairs fit."""
        from mulligan.data.idx import idx_bytes, read_idx, read_idx_pair

        path, labels = self.folder / "images", self.folder / "labels"
        path.write_bytes(data)
        array = read_idx(path)
        assert array.dtype.name == "uint8"
        assert array.ndim in (1, 3)
        assert array.size > 0
        labels.write_bytes(rng.choice([idx_bytes(array.reshape(-1)[: len(array)]), data, *self.valid]))
        images, classes = read_idx_pair(path, labels)
        assert len(images) == len(classes)


class Npz(Reader):
    """NumPy archives."""

    def make(self) -> list[bytes]:
        import numpy as np

        rng = np.random.default_rng(0)
        grey, colour = (rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((9, 12, 12), (9, 3, 8, 8)))
        labels = np.arange(9) % 3
        made = []
        for save in (np.savez, np.savez_compressed):
            for arrays in ({"images": grey}, {"images": colour, "labels": labels}):
                buffer = io.BytesIO()
                save(buffer, allow_pickle=False, **arrays)
                made.append(buffer.getvalue())
        return made

    def within(self, rng: random.Random, data: bytes) -> bytes:
        """Damage the arrays' own bytes, headers above all, and zip them rightly."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
            for name in old.namelist():
                member = old.read(name)
                if rng.random() < 0.7:
                    member = self._in_header(rng, member) if rng.random() < 0.7 else damage(rng, member, data)
                kind = rng.choice(
                    (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
                )
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a name may come twice
                    new.writestr(rng.choice((name, name, name, "images.npy", "x\0y.npy")), member, kind)
        return buffer.getvalue()

    @staticmethod
    def _in_header(rng: random.Random, member: bytes) -> bytes:
        size = int.from_bytes(member[8:10], "little")
        text = member[10 : 10 + size].decode()
        old, new = rng.choice(
            (
                ("'|u1'", "'|O'"), ("'|u1'", "'<f4'"), ("'|u1'", "'<u2'"), ("'|u1'", "'|b1'"),
                ("'|u1'", "'|S0'"), ("'|u1'", "'|V7'"), ("'|u1'", "[('a', '|u1')]"), ("'|u1'", "'<M8[s]'"),
                ("'|u1'", "3"),
                ("'<i8'", "'<u8'"), ("'<i8'", "'>i2'"), ("'<i8'", "'<f8'"), ("False", "True"),
                ("False", "None"),
                ("(9,", "(0,"), ("(9,", "(-9,"), ("(9,", "(9L,"), ("(9,", "(10**9,"), ("(9,", f"({2**40},"),
                ("(9,", f"({2**64},"), ("12, 12)", "144)"), ("12, 12)", "2, 72)"), ("'shape'", "'shap'"),
                ("{", "[" * 300), ("{", "__import__('os')"), ("}", ""), (",", ", " * 999), ("(9,", "((9,),"),
            )
        )  # fmt: skip
        text = text.replace(old, new, 1)
        body = text.encode()
        length = rng.choice((len(body), len(body), len(body), 0, 65535)) % 65536
        return member[:8] + length.to_bytes(2, "little") + body + member[10 + size :]

    def read(self, rng: random.Random, data: bytes) -> None:
        """Images are uint8 of 1 or 3 channels; labels are as many, and from 0 to 999."""
        from mulligan.data.npz import read_npz

        path = self.folder / "fuzz.npz"
        path.write_bytes(data)
        images, labels = read_npz(path)
        assert images.dtype.name == "uint8"
        assert images.ndim == 4
        assert images.shape[1] in (1, 3)
        if labels is not None:
            assert len(labels) == len(images)
            assert 0 <= labels.min() <= labels.max() < 1000


class Folder(Reader):
    """A folder of images, in which one is damaged."""

    def make(self) -> list[bytes]:
        import numpy as np
        from PIL import Image

        rng = np.random.default_rng(0)
        grey, colour = (rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((19, 23), (16, 16, 3)))
        exif = Image.Exif()
        exif[0x0112] = 6
        made = []
        for image in (
            Image.fromarray(grey),
            Image.fromarray(colour),
            Image.fromarray(colour).convert("P"),
            Image.fromarray(grey).convert("LA"),
            Image.fromarray(grey.astype(np.uint16) * 257),
            Image.fromarray(colour).convert("RGBA"),
        ):
            for kind, options in (
                ("PNG", {}),
                ("JPEG", {}),
                ("BMP", {}),
                ("WEBP", {}),
                ("WEBP", {"lossless": True}),
            ):
                buffer = io.BytesIO()
                try:
                    image.save(buffer, kind, exif=exif, **options)
                except (OSError, ValueError):
                    continue  # a mode that this kind of file does not have
                made.append(buffer.getvalue())
        frames = io.BytesIO()
        Image.fromarray(colour).save(
            frames, "PNG", save_all=True, append_images=[Image.fromarray(colour[::-1])]
        )
        self.whole = made[0]
        return [*made, frames.getvalue()]

    def within(self, rng: random.Random, data: bytes) -> bytes:
        """Damage a PNG's chunks, and sum them rightly."""
        if not data.startswith(b"\x89PNG"):
            return damage(rng, data, rng.choice(self.valid))
        chunks = list(_chunks(data))
        at = rng.randrange(len(chunks))
        kind, body = chunks[at]
        if kind == b"IDAT" and rng.random() < 0.5:
            body = zlib.compress(damage(rng, zlib.decompress(body), body))
        elif kind == b"IHDR" and rng.random() < 0.5:
            sides = [rng.choice((0, 1, 7, 100, 8000, 8001, 65535, 2**31 - 1)) for _ in range(2)]
            body = struct.pack(">II", *sides) + body[8:]
        else:
            body = damage(rng, body, data)
        chunks[at] = kind, body
        extra = rng.choice(
            (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"pHYs")
        )
        if rng.random() < 0.3:
            bomb = zlib.compress(bytes(1 << 22))
            chunks.insert(
                at, (extra, rng.choice((b"", b"a\0\0" + bomb, rng.randbytes(12), rng.randbytes(26))))
            )
        return data[:8] + b"".join(
            struct.pack(">I", len(body) % 2**32) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )

    def read(self, rng: random.Random, data: bytes) -> None:
        """Every image has the size that was asked for, and the set one or three channels."""
        from mulligan.data.folder import read_folder

        root = self.folder / "set"
        shutil.rmtree(root, ignore_errors=True)
        place = root / rng.choice(("", "", "class"))
        place.mkdir(parents=True)
        (place / f"a.{rng.choice(('png', 'jpg', 'jpeg', 'bmp', 'webp', 'PNG'))}").write_bytes(data)
        (place / "b.png").write_bytes(self.whole)
        if rng.random() < 0.05:
            (root / rng.choice(("c.png", "class/deeper", "class\n/x.png"))).mkdir(parents=True, exist_ok=True)
        found = read_folder(root, 12)
        assert found.images.shape in ((2, 1, 12, 12), (2, 3, 12, 12))
        assert (found.labels is None) == (place == root)


class Checkpoints(Reader):
    """Checkpoints, read to draw from and to go on from."""

    def make(self) -> list[bytes]:
        import numpy as np

        from mulligan import checkpoint, recipe, state
        from mulligan.data import Dataset

        self.state = state
        images = np.random.default_rng(0).integers(0, 256, (12, 1, 16, 16), dtype=np.uint8)
        self.dataset = Dataset("noise", images, np.arange(12) % 3, ("a", "b", "c"))
        made = []
        for kind, condition, half_life in (
            ("mlp", "none", 0),
            ("mlp", "concat", 9),
            ("dcgan", "projection", 9),
        ):
            sizes: dict[str, Any] = {"hidden": [3]} if kind == "mlp" else {"width": 2, "max_width": 2}
            table = {
                "name": "fuzz",
                "generator": {"kind": kind, **sizes},
                "discriminator": {"kind": kind, **sizes},
                "latent": {"size": 3},
                "condition": {"kind": condition},
                "data": {"batch": 4},
                "ema": {"half_life": half_life},
            }
            run = state.begin(recipe.from_dict(table), self.dataset)
            for steps in (0, 2):
                while run.steps < steps:
                    run.advance()
                made.append(checkpoint.write(self.folder, run.tensors(), run.meta()).read_bytes())
        return made

    def within(self, rng: random.Random, data: bytes) -> bytes:
        """Change values of the header: of what it says of tensors, of the run or of the recipe."""
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        meta = json.loads(header["__metadata__"]["mulligan"])
        for _ in range(rng.choice((1, 1, 2))):
            what = rng.randrange(4)
            if what == 0:
                _change(rng, header)
            elif what == 1:
                _change(rng, meta)
            elif what == 2:
                _change(rng, meta.get("recipe", {}))
            else:
                _change(rng, meta.get("data", {}))
        if isinstance(header.get("__metadata__"), dict) and rng.random() < 0.9:
            text = json.dumps(meta)
            header["__metadata__"]["mulligan"] = rng.choice(
                (text, text, text, text, text[:-5], "[" * 9999, "3")
            )
        body = json.dumps(header, ensure_ascii=rng.random() < 0.9).encode(errors="surrogatepass")
        length = rng.choice((len(body),) * 6 + (0, 2**27, 2**63))
        return length.to_bytes(8, "little") + body + data[8 + size :]

    def read(self, rng: random.Random, data: bytes) -> None:
        """What loads draws images of its shape; what restores can go on."""
        from mulligan import checkpoint, model, recipe

        path = self.folder / "fuzz.safetensors"
        path.write_bytes(data)
        if rng.random() < 0.5:
            loaded = model.load(path)
            drawn = loaded.sample(2, seed=1)
            assert drawn.shape == (2, *loaded.image_shape)
            return
        saved = checkpoint.read(path)
        chosen = recipe.from_dict(saved.meta.recipe, f"{path}: its recipe")
        run = self.state.begin(chosen, self.dataset)
        run.restore(saved)
        run.advance()


READERS: dict[str, type[Reader]] = {
    "recipe": Recipes,
    "idx": Idx,
    "npz": Npz,
    "folder": Folder,
    "checkpoint": Checkpoints,
}


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def _change(rng: random.Random, table: Any) -> None:
    """Replace, remove or add one value somewhere in a JSON object."""
    while isinstance(table, dict) and table:
        key = rng.choice(list(table))
        inner = table[key]
        if isinstance(inner, dict) and inner and rng.random() < 0.8:
            table = inner
            continue
        what = rng.randrange(8)
        if what == 0:
            del table[key]
        elif what == 1:
            table[str(rng.choice(("", "x", "kind", "__metadata__", "generator.x", "\0")))] = inner
        elif isinstance(inner, list) and inner and what < 5:
            inner[rng.randrange(len(inner))] = rng.choice(NASTY_JSON)
        else:
            table[key] = rng.choice(NASTY_JSON)
        return


# One process: a batch of cases -------------------------------------------------------------------


def work(name: str, seed: int, first: int, count: int) -> None:
    """Run cases, and print a line before and after each."""
    import torch

    from mulligan.errors import UserError

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        reader = READERS[name](Path(folder))
        for data in reader.valid:  # imports what is imported late
            with contextlib.suppress(UserError):
                reader.read(random.Random(0), data)
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY,) * 2)
        warned: list[str] = []
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: warned.append(repr(message))
        _forget_peak()
        before = _peak()
        for case in range(first, first + count):
            print("case", case, flush=True)
            began = time.perf_counter()
            result = _attempt(reader, random.Random(f"{seed}/{name}/{case}"))
            if warned:
                result = f"failed warned: {warned[0]}"
                warned.clear()
            print(f"{time.perf_counter() - began:.6f} {_peak() - before} {result}", flush=True)


def _attempt(reader: Reader, rng: random.Random) -> str:
    from mulligan.errors import UserError

    try:
        reader.attempt(rng)
    except UserError as error:
        message = str(error)
        if "\n" in message or not message.strip() or len(message) > LONGEST:
            return f"failed not one line: {message[:300]!r}"
        return "refused"
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-4:]))
        return f"failed {type(error).__name__}: {str(error)[:200]!r} at {where}".replace("\n", " ")
    return "accepted"


def _peak() -> int:
    """Most memory this process has held since ``_forget_peak``, in KiB."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0])


def _forget_peak() -> None:
    """Let the peak be what is held now; imports took more."""
    Path("/proc/self/clear_refs").write_text("5")


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


# The parent: processes, limits, the table --------------------------------------------------------


@dataclass
class Tally:
    """What became of one reader's cases."""

    cases: int = 0
    refused: int = 0
    accepted: int = 0
    slowest: float = 0.0
    peak: int = 0
    failures: list[str] = field(default_factory=list)

    def count(self, line: str) -> str | None:
        """Take in one case's result; return what is wrong with it."""
        seconds, peak, result = line.split(" ", 2)
        self.cases += 1
        self.slowest, self.peak = max(self.slowest, float(seconds)), max(self.peak, int(peak))
        self.refused += result == "refused"
        self.accepted += result == "accepted"
        return result if result.startswith("failed") else None


def fuzz(name: str, seed: int, seconds: float) -> Tally:
    """Fuzz one reader for so long, a batch in a process after the other."""
    tally, first, deadline = Tally(), 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        case, fault = _batch(name, seed, first, deadline, tally)
        if fault:
            tally.failures.append(
                f"{name} case {case}: {fault} (--reader {name} --seed {seed} --case {case})"
            )
            if len(tally.failures) >= 20:
                break
        first = case + 1
    return tally


def _batch(name: str, seed: int, first: int, deadline: float, tally: Tally) -> tuple[int, str | None]:
    """Run one process until its batch is done, the time is up, or a case fails; return the last case."""
    command = [
        sys.executable,
        __file__,
        "--worker",
        "--reader",
        name,
        "--seed",
        str(seed),
        "--case",
        str(first),
    ]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, bufsize=0) as process,
    ):
        assert process.stdout is not None
        case, fault, patience = first - 1, None, 120.0  # imports take their time
        buffer = b""
        try:
            while True:
                if not select.select([process.stdout], [], [], patience)[0]:
                    fault = f"failed hang: no answer within {patience:g} s"
                    break
                piece = os.read(process.stdout.fileno(), 65536)
                if not piece:
                    code = process.wait()
                    fault = f"failed crash: exit code {code}" if code else None
                    break
                *lines, buffer = (buffer + piece).split(b"\n")
                for line in lines:
                    text = line.decode()
                    if text.startswith("case "):
                        case, patience = int(text[5:]), LIMIT
                    elif fault := tally.count(text):
                        break
                if fault or time.monotonic() > deadline:
                    break
        finally:
            process.kill()
        said.seek(0)
        words = said.read().decode(errors="replace").strip()
        if words:
            fault = f"{fault or 'failed words on stderr'}: {words.splitlines()[-1][:300]}"
    return max(case, first), fault


def report(tallies: dict[str, Tally], command: str, seconds: float) -> str:
    """Lay the results out as a page."""
    rows = [
        f"| {name} | {t.cases:,} | {t.refused:,} | {t.accepted:,} | {len(t.failures)} "
        f"| {1000 * t.slowest:,.0f} ms | {t.peak / 1024:,.0f} MiB |"
        for name, t in tallies.items()
    ]
    versions = ", ".join(
        f"{package} {metadata.version(package)}"
        for package in ("numpy", "pillow", "pydantic", "safetensors", "torch")
    )
    return "\n".join(
        [
            "# Fuzzing the readers",
            "",
            "Seeded mutations of valid files, in processes of bounded memory. *Refused* is a `UserError` of",
            "one line; *accepted* files were checked to be sound; anything else *failed*. Memory is what the",
            "readers held beyond what their process had before the first case.",
            "",
            "| reader | cases | refused | accepted | failed | slowest case | peak memory |",
            "|---|--:|--:|--:|--:|--:|--:|",
            *rows,
            "",
            f"`{command}` ({seconds:g} s for each reader), Python {platform.python_version()}, {versions}.",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz every reader, print the table; 1 if anything but a UserError came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", choices=READERS, action="append", help="only this one; repeatable")
    parser.add_argument("--case", type=int, help="run this one case, with its traceback")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    names = options.reader or list(READERS)
    if options.worker:
        work(names[0], options.seed, options.case, BATCH)
        return 0
    if options.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            READERS[names[0]](Path(folder)).attempt(
                random.Random(f"{options.seed}/{names[0]}/{options.case}")
            )
        return 0
    tallies = {name: fuzz(name, options.seed, options.seconds) for name in names}
    words = ["python", "benchmarks/fuzz.py", f"--seconds {options.seconds:g}", f"--seed {options.seed}"]
    page = report(tallies, " ".join(words), options.seconds)
    print(page)
    if options.out:
        options.out.write_text(page, encoding="utf-8")
    failures = [failure for tally in tallies.values() for failure in tally.failures]
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
