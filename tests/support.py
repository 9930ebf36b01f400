"""What several test files need: the command line in this process, and a run directory's contents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mulligan import checkpoint, cli, runlog

RECIPES = ("dcgan-softmax", "mlp-batchnorm", "mlp-relu", "mlp-smooth", "mlp-tanh")

SMALL = {
    "mlp": ("generator.hidden=[4]", "discriminator.hidden=[4]"),
    "mlp-batchnorm": (
        "generator.hidden=[4, 4]",
        'generator.norm=["none", "batch"]',
        "discriminator.hidden=[4]",
    ),
    "dcgan-softmax": ("generator.channels=[2, 2]", "discriminator.channels=[2, 2]", "discriminator.dense=4"),
}


def small(recipe: str) -> tuple[str, ...]:
    """Overrides that shrink a recipe's networks, for tests of when rather than of what."""
    return SMALL.get(recipe, SMALL["mlp"])


def command(*arguments: object) -> int:
    """Run ``mulligan …`` in this process; return its exit code."""
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    code = exit_.value.code
    assert isinstance(code, int)
    return code


def final(run: Path) -> dict[str, Tensor]:
    """Everything in a run's last checkpoint."""
    return checkpoint.read(checkpoint.find(run)).tensors


def trained(run: Path) -> dict[str, Tensor]:
    """What training moves: networks, optimisers and the stream that feeds them."""
    parts = ("generator.", "discriminator.", "g_optimizer.", "d_optimizer.", "stream.")
    return {name: tensor for name, tensor in final(run).items() if name.startswith(parts)}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Are two sets of tensors the same, name for name and bit for bit?"""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def timeless_log(run: Path) -> list[dict[str, Any]]:
    """The rows of a log without what depends on the machine."""
    return [{key: value for key, value in row.items() if key != "time"} for row in runlog.rows(run)]


def unexamined_log(run: Path) -> list[dict[str, Any]]:
    """The same without examinations, whose moments depend on the budget."""
    return [row for row in timeless_log(run) if "vitals" not in row]


def logged_steps(run: Path) -> list[int]:
    """At which steps a run logged its losses."""
    return [row["step"] for row in runlog.rows(run) if "d_loss" in row]


def pictures(run: Path) -> dict[str, bytes]:
    """Every picture of a run, by its path below the run directory."""
    paths = (*run.rglob("*.png"), *run.rglob("*.webp"))
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in paths}
