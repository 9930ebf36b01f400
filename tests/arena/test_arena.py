"""``mulligan arena``: many runs under one budget, resumable, and what is said of them."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from mulligan.arena import cells, results
from mulligan.arena.cells import Cell, Mark, Processes, Result, read_result
from mulligan.errors import UserError
from support import command

LITTLE = (
    *("generator.hidden=[4]", "discriminator.hidden=[4]", "data.batch=50"),
    *("checkpoint.every=100", "card.every=200", "card.n=256"),
)
# A scorer that costs nothing: the processes run a `mulligan` whose evaluate counts images.
STAND_IN = """
import json, sys
from pathlib import Path
if "bad.toml" in " ".join(sys.argv) and sys.argv[1] == "train":
    sys.exit("mulligan: step 7: D's loss is not finite; the last checkpoint is from before it")
if "full.toml" in " ".join(sys.argv) and sys.argv[1] == "train":
    sys.exit("mulligan: runs/x: cannot be written: No space left on device")
if sys.argv[1] == "evaluate":
    with max((Path(sys.argv[2]) / "checkpoints").glob("0*.safetensors")).open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    meta = json.loads(header["__metadata__"]["mulligan"])
    metric = {"value": 1e5 / meta["images"] + meta["seed"], "low": 0, "high": 1, "floor": 0.1}
    Path(sys.argv[sys.argv.index("--json") + 1]).write_text(
        json.dumps({"metrics": {"frechet": metric}, "class_histogram": [9], "missing_classes": [3]})
    )
else:
    from mulligan import cli

    cli.main()
"""


@pytest.fixture
def quick(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let cells call the stand-in, here and in a process of one's own."""
    script = tmp_path_factory.mktemp("stand-in") / "mulligan_stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(cells, "PROGRAM", (sys.executable, str(script)))
    return script


def options(out: Path, *more: object) -> list[object]:
    changes = [part for change in LITTLE for part in ("--set", change)]
    return [*changes, "--data", "digits", "--reference", "mnist", "--out", out, *more]


def table(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "arena.json").read_text())
    return found


def bare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what depends on the machine."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


@pytest.mark.usefixtures("quick")
def test_an_arena_scores_every_recipe_with_every_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    ask = ("arena", "mlp-relu", "mlp-smooth", "--seeds", 2, "--images", 400, "--jobs", 2)
    assert command(*ask, *options(out)) == 0
    said = capsys.readouterr().out
    assert said.count("Fréchet distance") == 4
    assert re.search(r"^mlp-smooth +400 +2/2 +250 ± 6.35", said, re.M)
    found = table(out)
    assert found["schema"] == 1
    assert [(run["recipe"], run["seed"], run["images"], run["frechet"]) for run in found["runs"]] == [
        *(("mlp-relu", 0, 400, 250), ("mlp-smooth", 0, 400, 250)),
        *(("mlp-relu", 1, 400, 251), ("mlp-smooth", 1, 400, 251)),
    ]
    with (out / "arena.csv").open(newline="") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0", "0", "1", "1"]
    assert (out / "arena.png").read_bytes()[:4] == b"\x89PNG"
    before = bare(found["runs"])
    # Again costs nothing; a seed more is added; other rules are refused
    assert command(*ask, *options(out)) == 0
    assert "seed 0," not in capsys.readouterr().out
    assert command(*ask[:2], "--seeds", 3, "--images", 400, "--jobs", 2, *options(out)) == 0
    assert bare(table(out)["runs"])[:2] == before[::2]
    assert command(*ask[:3], "--seeds", 3, "--images", 500, "--jobs", 2, *options(out)) == 2
    assert "was begun with marks ['400'], now ['500']" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_marks_are_of_one_run_that_goes_on(tmp_path: Path) -> None:
    marks = (Mark(minutes=0.01), Mark(minutes=0.1))
    cell = Cell("mlp-relu", "mlp-relu", 0, "digits", tmp_path / "cell", marks, LITTLE)
    said: list[str] = []
    first, second = cells.carry_out(cell, Processes(1), said.append)
    assert first.seconds >= 0.6
    assert second.seconds >= 6 - cells.SLACK
    assert second.images > first.images
    assert len(said) == 2
    assert [read_result(cell, mark) for mark in marks] == [first, second]


@pytest.mark.usefixtures("quick")
def test_a_run_that_fails_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('extends = "mlp-relu"\nname = "bad"\n')
    code = command("arena", bad, "mlp-relu", "--seeds", 1, "--images", 200, *options(tmp_path / "o"))
    assert code == 0
    runs = {run["recipe"]: run for run in table(tmp_path / "o")["runs"]}
    assert "is not finite" in runs["bad"]["failed"]
    assert "frechet" not in runs["bad"]


@pytest.mark.usefixtures("quick")
def test_a_full_disk_is_not_held_against_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = tmp_path / "full.toml"
    full.write_text('extends = "mlp-relu"\nname = "full"\n')
    assert command("arena", full, "--seeds", 1, "--images", 100, *options(tmp_path / "o")) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not list((tmp_path / "o").rglob("score-*.json"))  # the next try begins where this one ended


def test_a_killed_arena_goes_on_to_the_same_table(quick: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    ask = ["arena", "mlp-relu", "--seeds", "1", "--images", "1500"]
    assert command(*ask, *options(whole)) == 0
    program = (
        f"import sys; from mulligan.arena import cells; cells.PROGRAM = ({sys.executable!r}, {str(quick)!r});"
        "from mulligan import cli; cli.main()"
    )
    line = [sys.executable, "-c", program, *ask, *map(str, options(cut))]
    for delay in (2, 4):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait()
        time.sleep(0.5)
        _kill_children(cut)
    assert command(*ask, *options(cut)) == 0
    assert bare(table(cut)["runs"]) == bare(table(whole)["runs"])


def _kill_children(out: Path) -> None:
    """A machine that goes down takes all its processes; a kill of one leaves its children."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if str(out) in text:
            os.kill(int(entry.name), signal.SIGKILL)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_runs_and_says_how_to_go_on(
    kind: signal.Signals, quick: Path, tmp_path: Path
) -> None:
    program = (
        f"import sys; from mulligan.arena import cells; cells.PROGRAM = ({sys.executable!r}, {str(quick)!r});"
        "from mulligan import cli; cli.main()"
    )
    out = tmp_path / "out"
    ask = ["arena", "mlp-relu", "--seeds", "1", "--images", "50000000", *map(str, options(out))]
    process = subprocess.Popen([sys.executable, "-c", program, *ask], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(out.rglob("*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(kind)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"the same command goes on: --out {out}" in complaint
    assert not (out / "mlp-relu" / "seed-0" / "score-50000000.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mlp-relu"], "expected either --images N or --minutes M"),
        (["mlp-relu", "--images", "5", "--minutes", "1"], "expected either"),
        (["mlp-relu", "--minutes", "5,1"], "that increase"),
        (["mlp-relu", "--minutes", "0"], "above 0"),
        (["mlp-rleu", "--images", "5"], "did you mean 'mlp-relu'"),
        (["mlp-relu", "mlp-relu", "--images", "5"], "two recipes are called 'mlp-relu'"),
        (["mlp-relu", "--images", "5", "--data", "digits"], "mulligan reference digits"),
        (["mlp-relu", "--images", "5", "--data", "digits", "--reference", "no"], "--reference no"),
    ],
)
def test_what_cannot_be_held_is_refused_before_anything_is_written(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("arena", *arguments, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"mulligan: .+\n", said)
    assert words in said
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_has_changed_since_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what its runs were begun with, even where it was changed while they trained."""
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "mlp-relu"\n[optimizer.generator]\nlr = 1e-3\n')
    cell = Cell(str(mine), "mine", 0, "digits", tmp_path / "out" / "mine" / "seed-0", (Mark(images=5),))

    def reach(*_: object) -> Result:
        mine.write_text('extends = "mlp-relu"\n[optimizer.generator]\nlr = 9e-3\n')
        return Result(None, 1.0, 5, {})

    monkeypatch.setattr(cells, "_reach", reach)
    assert len(cells.carry_out(cell, Processes(1), lambda _: None)) == 1
    with pytest.raises(
        UserError, match=r"has changed since .*: optimizer\.generator\.lr was 0\.001, is 0\.009"
    ):
        cells.carry_out(cell, Processes(1), lambda _: None)
    assert command("arena", mine, "--images", 5, "--seeds", 1, *options(tmp_path / "out")) == 2
    (cell.folder / cells.RECIPE).write_text("[")
    with pytest.raises(UserError, match="is damaged: expected a recipe"):
        cells.carry_out(cell, Processes(1), lambda _: None)


def test_a_directory_of_other_things_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert command("arena", "mlp-relu", "--images", 5, *options(tmp_path)) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("n", [2, 3, 5, 20, 31, 60])
def test_intervals_over_seeds_are_students(n: int) -> None:
    values = np.random.Generator(np.random.PCG64(n)).normal(10, 2, n)
    mean, half = results.interval(list(values))
    low, high = scipy.stats.t.interval(0.95, n - 1, values.mean(), scipy.stats.sem(values))
    assert half is not None
    assert mean == pytest.approx(values.mean())
    assert 2 * half == pytest.approx(high - low, rel=0.003)
    assert results.interval([4.0]) == (4.0, None)


def test_failed_seeds_are_counted_and_left_out_of_means() -> None:
    cell = Cell("a", "a", 0, "d", Path("x"), (Mark(images=5),))
    good = Result(None, 2.0, 5, {"metrics": {"frechet": {"value": 3.0}}, "missing_classes": []})
    bad = Result("a loss is not finite", 1.0, 2, {})
    (row,) = results.summary([(cell, [good]), (cell, [bad])])
    assert (row["seeds"], row["failed"]) == (2, 1)
    assert row["metrics"]["frechet"] == {"mean": 3.0, "half_width": None}
    assert "1/2" in results.table([row])[1]


def test_a_metric_that_some_seeds_lack_is_a_mean_of_fewer_and_says_so() -> None:
    cell = Cell("a", "a", 0, "d", Path("x"), (Mark(images=5),))
    cards: list[dict[str, Any]] = [
        {"modes": {"value": 2.0}, "reverse_kl": {"value": kl}} for kl in (1.0, 3.0)
    ]
    found = [Result(None, 2.0, 5, {"metrics": metrics}) for metrics in ({"modes": {"value": 0.0}}, *cards)]
    (row,) = results.summary([(cell, [one]) for one in found])
    assert "seeds" not in row["metrics"]["modes"]
    assert (row["metrics"]["reverse_kl"]["mean"], row["metrics"]["reverse_kl"]["seeds"]) == (2.0, 2)
    assert "(2 of them)" in results.table([row])[1]


@pytest.mark.usefixtures("quick")
def test_what_an_earlier_call_finished_stays_in_the_table(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command("arena", "mlp-relu", "--seeds", 2, "--images", 100, *options(out)) == 0
    (out / "mlp-tanh" / "seed-0").mkdir(parents=True)  # begun, and not finished
    assert command("arena", "mlp-smooth", "--seeds", 1, "--images", 100, *options(out)) == 0
    runs = [(row["recipe"], row["seed"]) for row in table(out)["runs"]]
    assert runs == [("mlp-smooth", 0), ("mlp-relu", 0), ("mlp-relu", 1)]
