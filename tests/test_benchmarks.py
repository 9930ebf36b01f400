"""The benchmarks run, here in their short form. No time is asserted: machines differ."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


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
