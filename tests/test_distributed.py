"""Two processes against one: the same losses and weights; a killed one is started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mulligan import checkpoint, recipe, runlog, state
from mulligan.distributed import Group
from mulligan.errors import UserError
from support import unexamined_log
from test_compiled import CASES, a_recipe, images

WORKER = """
import sys
import torch
from safetensors.torch import save_file
from mulligan import distributed, state
from mulligan.recipe import merge
from test_compiled import CASES, a_recipe, images

group = distributed.join(torch.device("cpu"))
for number, case in enumerate(sys.argv[2:]):
    chosen = a_recipe(**merge(CASES[case], {"data": {"batch": 8}}))
    run = state.begin(chosen, images(22), dtype=torch.float64, group=group)
    if group.rank == 0:
        for _ in range(6):
            update = run.advance()
        group.lead(distributed.END)
        found = {name: tensor.clone().contiguous() for name, tensor in run.tensors().items()}
        found["losses"] = torch.stack([update.d.loss, update.g.loss])
        save_file(found, f"{sys.argv[1]}/{number}.safetensors")
    else:
        while group.follow() == distributed.ADVANCE:
            run.advance()
"""


def environment(home: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(home), "PYTHONPATH": path}


def torchrun(*arguments: object, home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(home))


def finished(process: subprocess.Popen[bytes]) -> str:
    try:
        out, error = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, error.decode()[:6000]
    return out.decode()


def test_two_processes_make_the_updates_of_one(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    names = list(CASES)
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    finished(torchrun("--nproc-per-node", 2, script, tmp_path, *names, home=tmp_path))
    for number, case in enumerate(names):
        chosen = a_recipe(**recipe.merge(CASES[case], {"data": {"batch": 8}}))
        alone = state.begin(chosen, images(22), dtype=torch.float64)
        for _ in range(6):
            update = alone.advance()
        shared = load_file(tmp_path / f"{number}.safetensors")
        losses = torch.stack([update.d.loss, update.g.loss])
        torch.testing.assert_close(shared.pop("losses"), losses, rtol=0, atol=1e-9)
        ours = alone.tensors()
        assert ours.keys() == shared.keys()
        for name, tensor in ours.items():
            difference = float((tensor.double() - shared[name].double()).abs().max())
            assert difference < 1e-9, f"{case}: {name}: {difference}"


def test_parts_that_cannot_be_equal_are_refused() -> None:
    group = Group(rank=1, world=3, device=torch.device("cpu"))
    with pytest.raises(UserError, match=r"data\.batch 8 cannot be shared by 3 processes: use 9"):
        state.begin(a_recipe(data={"batch": 8}), images(22), group=group)
    with pytest.raises(UserError, match=r"'short' leaves 4 images, which 3 processes cannot share"):
        state.begin(a_recipe(data={"batch": 6, "last": "short"}), images(22), group=group)


TRAIN = ("-m", "mulligan", "train", "mlp-relu", "--data", "digits", "--set", "generator.hidden=[8]")
OFTEN = ("--set", "discriminator.hidden=[8]", "--set", "checkpoint.every=1280", "--set", "card.every=0")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(checkpoint.find(run)).tensors


def test_two_processes_train_and_one_goes_on(tmp_path: Path) -> None:
    run, alone = tmp_path / "run", tmp_path / "alone"
    two = ("--nproc-per-node", 2, *TRAIN, *OFTEN, "--precision", "exact", "--images", 2560, "--out", run)
    out = finished(torchrun(*two, home=tmp_path))
    assert out.count("the budget is spent") == 1  # the leader alone speaks
    about = json.loads((run / runlog.ENVIRONMENT).read_text())
    assert about["processes"] == 2
    before = weights(run)
    other = torchrun("--max-restarts", 1, *two, home=tmp_path)  # another launch: not this one's run
    assert "is not empty" in other.communicate(timeout=240)[1].decode()
    assert other.returncode != 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(run).items())
    more = [sys.executable, "-m", "mulligan", "resume", str(run), "--images", "3840", "--quiet"]
    subprocess.run(more, check=True, env=environment(tmp_path), capture_output=True)
    same = [*TRAIN, *OFTEN, "--precision", "exact", "--images", "3840", "--out", str(alone), "--quiet"]
    subprocess.run([sys.executable, *same], check=True, env=environment(tmp_path), capture_output=True)
    ours, theirs = weights(run), weights(alone)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-4)
    assert len(unexamined_log(run)) == len(unexamined_log(alone))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing to kill with")
@pytest.mark.parametrize("which", [0, -1])
def test_a_killed_process_is_started_again_from_the_last_checkpoint(tmp_path: Path, which: int) -> None:
    run = tmp_path / "run"
    process = torchrun(
        *("--nproc-per-node", 2, "--max-restarts", 1, *TRAIN, *OFTEN),
        *("--precision", "exact", "--images", 10**9, "--minutes", "0.1", "--out", run),
        home=tmp_path,
    )
    try:
        deadline = time.monotonic() + 120
        while len(checkpoint.history(run)) < 4:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        workers = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
        )
        os.kill(int(workers.stdout.split()[which]), signal.SIGKILL)
        before = int(checkpoint.history(run)[-1].stem)
    finally:
        error = process.communicate(timeout=240)[1].decode()
    assert process.returncode == 0, error[-4000:]
    assert "another process of this training is gone" in error
    assert "Traceback" not in error
    assert int(checkpoint.find(run).stem) > before
    seen = [row["images"] for row in unexamined_log(run)]
    assert seen == sorted(set(seen))  # what came after the checkpoint was taken back, and made again


def test_two_processes_draw_and_judge_what_one_does(tmp_path: Path) -> None:
    run, card = tmp_path / "run", tmp_path / "card.json"
    train = (*TRAIN, *OFTEN, "--precision", "exact", "--images", 1280, "--out", run, "--quiet")
    subprocess.run([sys.executable, *map(str, train)], check=True, env=environment(tmp_path))
    for name, launch in {"two": ("--nproc-per-node", 2), "one": ("--nproc-per-node", 1)}.items():
        draw = ("-m", "mulligan", "generate", run, "-n", 600, "--out", tmp_path / f"{name}.npz")
        said = finished(torchrun(*launch, *draw, home=tmp_path))
        assert said.count("600 images") == 1
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        assert len(one["images"]) == 600
        assert np.array_equal(one["images"], two["images"])
    cards = []
    for processes in (1, 2):
        judge = (
            "-m",
            "mulligan",
            "evaluate",
            run,
            "--reference",
            "mnist",
            "-n",
            600,
            "--quick",
            "--json",
            card,
        )
        finished(torchrun("--nproc-per-node", processes, *judge, home=tmp_path))
        cards.append(json.loads(card.read_text()))
    assert cards[0] == cards[1]
