"""Train from a large folder, and measure how long it takes to read and what it holds in memory.

    python scripts/make_big_folder.py FOLDER
    python benchmarks/big_folder.py FOLDER [--part 25000] [--updates 3125] [--out FILE.md]

The folder, and one with a part of its images, are decoded into an empty cache, opened again, and trained
from for equally many updates of 64 images, each in a process of its own. Anonymous memory (RssAnon of
/proc/self/status) is what a process holds and the system cannot take back; resident memory (RSS) also
counts the pages of the mapped file that have been read, which it can. Light scorecards are drawn on the
way.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from speed import commit

from mulligan import data, hardware, training
from mulligan.loop import Progress

SIZE, BATCH = 64, 64
WARM_UP = 0.1  # of the updates
RECIPE = ("lsgan", "generator.width=8", "discriminator.width=8")
Row = dict[str, float]


def memory() -> Row:
    """Return this process's resident and anonymous memory, in MiB."""
    with open("/proc/self/status", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    return {name: int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")}


@contextmanager
def peak(row: Row, name: str) -> Iterator[None]:
    """Note the most anonymous memory there was at any time, looked at every 10 ms."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            row[name] = max(row.get(name, 0), memory()["RssAnon"])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def read(folder: str) -> Row:
    """Read a folder, decoding it where that has not been done."""
    row: Row = {}
    before, began = memory()["RssAnon"], time.monotonic()
    with peak(row, "peak"):
        images = len(data.load(folder, size=SIZE))
    return {"images": images, "seconds": time.monotonic() - began, "peak": row["peak"] - before}


def train(folder: str, updates: int, out: str) -> Row:
    """Train; return the memory after the first tenth of the updates, at the end, and at most."""
    seen: list[tuple[int, Row]] = []

    def note(progress: Progress) -> None:
        seen.append((progress.images, memory()))

    row: Row = {}
    with peak(row, "peak"):
        recipe, *overrides = RECIPE
        training.train(
            recipe,
            data=folder,
            size=SIZE,
            steps=updates,
            out=out,
            device="cpu",
            overrides=(*overrides, f"data.batch={BATCH}", "stop={kind='none'}"),
            on_progress=note,
        )
    warm = next(found for images, found in seen if images >= WARM_UP * updates * BATCH)
    last = seen[-1][1]
    return row | {"warm": warm["RssAnon"], "end": last["RssAnon"], "resident": last["VmRSS"]}


def alone(function: Callable[..., Row], *arguments: Any) -> Row:
    """Call a function in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def measure(folder: Path, updates: int, scratch: Path) -> str:
    """Return a row of the table."""
    os.environ["XDG_CACHE_HOME"] = str(scratch / "cache")
    built, again = alone(read, str(folder)), alone(read, str(folder))
    (decoded,) = (scratch / "cache" / "mulligan" / "decoded").glob("*.pixels")
    trained = alone(train, str(folder), updates, str(scratch / "run"))
    images = int(built["images"])
    cells = [
        f"{images:,}",
        f"{decoded.stat().st_size / 2**20:,.0f} MiB",
        f"{built['seconds']:.0f} s",
        f"{images / built['seconds']:,.0f}",
        f"{built['peak']:,.0f} MiB",
        f"{again['seconds']:.1f} s",
        *(f"{trained[name]:,.0f} MiB" for name in ("warm", "end", "peak", "resident")),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", type=int, default=25_000)
    parser.add_argument("--updates", type=int, default=3125)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [
        "| images | decoded | first reading | images/s | it holds | opened again "
        "| training: after a tenth | at the end | at most | resident at the end |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    with tempfile.TemporaryDirectory(dir=options.folder.resolve().parent) as work:
        part = Path(work, "part", "set")
        part.mkdir(parents=True)
        for file in sorted(options.folder.iterdir())[: options.part]:
            os.link(file, part / file.name)
        for name, folder in (("part", part), ("whole", options.folder)):
            Path(work, name).mkdir(exist_ok=True)
            lines.append(measure(folder, options.updates, Path(work, name)))
            print(lines[-1], flush=True)
    text = "\n".join(
        [
            "# Large folders",
            "",
            f"A folder of 3×{SIZE}×{SIZE} PNGs, and a part of it: decoded into the cache, opened again, and",
            f"trained from for {options.updates:,} updates of {BATCH} images, light scorecards included. *It",
            "holds*, *after a tenth*, *at the end* and *at most* are anonymous memory, which the system",
            "cannot take back: of the first reading what it adds, of training that of the whole process.",
            "*Resident* also counts the pages of the mapped file that have been read, which it can.",
            "",
            *lines,
            "",
            "`python scripts/make_big_folder.py FOLDER`,",
            f"`python benchmarks/big_folder.py FOLDER --part {options.part} --updates {options.updates}`",
            f"(`{' '.join(RECIPE)}`), commit `{commit()}`, {os.cpu_count()} × {hardware.cpu_name()},",
            f"{torch.get_num_threads()} thread, Python {platform.python_version()},",
            f"PyTorch {torch.__version__}, NumPy {np.__version__}, Pillow {PIL.__version__}.",
            "",
        ]
    )
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
