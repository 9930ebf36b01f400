"""Which tests this machine can run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("mulligan", derandomize=True, deadline=None)
settings.load_profile("mulligan")

# One thread each: on a small machine, threads that wait for each other cost tests far more than they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # also for the processes that tests start
# Compiling takes longer than most tests do; those of compiling itself turn it on.
os.environ.setdefault("MULLIGAN_COMPILE", "0")
# Which way is fastest here is each session's own finding.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="mulligan-tests-")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    data = os.environ.get("MULLIGAN_DATA")
    wants = {
        "mnist": (bool(data) and Path(data or "", "mnist").is_dir(), "no real MNIST in $MULLIGAN_DATA/mnist"),
        "gpu": (torch.cuda.is_available(), "no CUDA device"),
    }
    for item in items:
        for marker, (there, reason) in wants.items():
            if item.get_closest_marker(marker) and not there:
                item.add_marker(pytest.mark.skip(reason=reason))
