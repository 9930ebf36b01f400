"""The benchmarks run, here in their short form. No time is asserted: machines differ."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def benchmark(script: str, *options: str) -> str:
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, *options],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    ).stdout


def test_speed(tmp_path: Path) -> None:
    out = tmp_path / "speed.md"
    subprocess.run(
        [sys.executable, ROOT / "benchmarks/speed.py", "--short", "--out", out],
        check=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    table = out.read_text(encoding="utf-8")
    for row in (
        "plain loop",
        "float32",
        "products alone",
        "a whole run",
        "Memory of",
        "Sampler",
        "--version",
    ):
        assert row in table


def test_modes(tmp_path: Path) -> None:
    table = tmp_path / "modes.md"
    short = ("--seeds=2", "--set=budget.images=512", f"--out={tmp_path}/runs", f"--page={table}")
    benchmark("modes.py", "ring-8", "grid-25", *short)
    text = table.read_text("utf-8")
    assert "| ring-8 | 2 |" in text
    assert "| 0 of 2 |" in text
    assert table.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.mnist
def test_speedrun(tmp_path: Path) -> None:
    short = (
        "--images=64",
        "--seeds=2",
        "--mode=exact",
        "--samples=2048",
        "--further=96",
        f"--out={tmp_path}",
    )
    table = benchmark(
        "speedrun.py", "swift", *short, "--set=generator.width=2", "--set=discriminator.width=2"
    )
    assert "| 64 | 2 |" in table
    assert "not passed" in table
    assert "After 96 images: " in table
    with pytest.raises(subprocess.CalledProcessError) as refused:  # its seeds are of another run
        benchmark("speedrun.py", "swift", *short, "--set=generator.width=4")
    assert "name another folder" in refused.value.stderr


def test_quality_page() -> None:
    """Means over seeds, read between cards, with intervals; nothing where no run came that far."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import quality
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    row: dict[str, Any] = {"name": "a", "threads": 1, "seconds": 150.0, "images": 3000, "warnings": []}
    row |= {"card": {"frechet": 1.0}, "floors": {"frechet": 0.1}}
    row |= {"commit": "c", "command": "x", "machine": "m"}
    rows = [{**row, "curve": [[30, 600, 4.0], [120, 2400, value]]} for value in (1.0, 2.0)]
    text = quality.page(rows)
    assert "| a | 2 | 1 | 20 | 2.85 ± " in text  # at 60 s: 4^⅔ · 1^⅓ and 4^⅔ · 2^⅓, 2.52 and 3.17
    assert "| 1.5 ± 6.4 | – | – |" in text
