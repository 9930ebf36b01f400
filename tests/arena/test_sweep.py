"""``mulligan sweep``: Optuna proposes, runs answer, and nothing is lost on the way."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from mulligan import recipe, sweep
from mulligan.arena import cells
from support import command

LITTLE = ("generator.hidden=[4]", "discriminator.hidden=[4]", "data.batch=50")
STAND_IN = """
import json, sys, tomllib
from pathlib import Path
if sys.argv[1] == "evaluate":
    table = tomllib.loads((Path(sys.argv[2]) / "recipe.toml").read_text())
    value = abs(table["optimizer"]["generator"]["lr"] - 1e-3)
    Path(sys.argv[sys.argv.index("--json") + 1]).write_text(
        json.dumps({"metrics": {"frechet": {"value": value, "low": 0, "high": 1, "floor": 0.1}}})
    )
else:
    from mulligan import cli

    cli.main()
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path_factory.mktemp("stand-in") / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(cells, "PROGRAM", (sys.executable, str(script)))


def ask(out: Path, trials: int, *more: str) -> list[object]:
    changes = [part for change in LITTLE for part in ("--set", change)]
    return [
        *("sweep", "mlp-relu", "--images", 50, "--data", "digits", "--reference", "mnist"),
        *("--range", "optimizer.generator.lr=1e-4:1e-2:log", "--range", "latent.size=2:9"),
        *("--out", out, "--trials", trials, *changes, *more),
    ]


def test_a_sweep_finds_goes_on_and_says_how_to_repeat_the_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(*ask(out, 2)) == 0
    assert command(*ask(out, 4)) == 0
    said = capsys.readouterr().out
    assert len(re.findall(r"^trial \d+:", said, re.M)) == 4
    found = json.loads((out / "sweep.json").read_text())
    assert [row["trial"] for row in found["trials"]] == [0, 1, 2, 3]
    values = [row["frechet"] for row in found["trials"]]
    assert found["best"]["frechet"] == min(values)
    assert all(isinstance(row["latent.size"], int) for row in found["trials"])
    best = recipe.read(str(out / "best.toml"))
    lr = best.optimizer.generator.lr
    assert isinstance(lr, float)
    assert abs(lr - 1e-3) == pytest.approx(min(values))
    assert f"--set optimizer.generator.lr={lr!r}" in said
    assert command(*ask(out, 4, "--seed", "5")) == 2
    assert "was begun with seed 0, now 5" in capsys.readouterr().err


def test_a_trial_that_was_cut_off_is_repeated(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(*ask(out, 1)) == 0
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{out}/study.db")
    trial = study.ask()  # as a process does that is then killed
    trial.suggest_float("optimizer.generator.lr", 1e-4, 1e-2, log=True)
    trial.suggest_int("latent.size", 2, 9)
    (out / "trial-0001").mkdir()
    assert command(*ask(out, 2)) == 0
    states = [one.state.name for one in study.get_trials()]
    assert states == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study.trials[2].params == trial.params


def test_a_value_that_the_data_cannot_take_is_a_trial_that_came_to_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    few = ("sweep", "mlp-relu", "--images", 50, "--data", "digits", "--reference", "mnist", "--out", out)
    sets = [part for change in LITTLE[:2] for part in ("--set", change)]
    assert command(*few, *sets, "--trials", 6, "--range", "data.batch=50,5000") == 0
    said = capsys.readouterr().out
    assert "data.batch 5000: there are only" in said
    assert "came to nothing" in said
    assert "mulligan train mlp-relu --data digits --set" in said


def test_choices_are_no_range() -> None:
    ranges = [sweep.read_range(f"latent.size={values}") for values in ("8:16", "8,16", "1:2:log")]
    assert [str(one) for one in ranges] == ["latent.size=8:16", "latent.size=8,16", "latent.size=1:2:log"]


def test_a_trial_is_whose_it_is_from_the_moment_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever begins meanwhile, or just before it is told, leaves it alone."""
    out = tmp_path / "out"

    def met(method: Callable[..., Any], first: bool) -> Callable[..., Any]:
        def call(study: optuna.Study, *args: Any, **more: Any) -> Any:
            found = method(study, *args, **more) if first else None
            other = threading.Thread(target=sweep._repeat_what_was_cut_off, args=(study, out), daemon=True)
            other.start()
            other.join(0.5)
            return found if first else method(study, *args, **more)

        return call

    monkeypatch.setattr(optuna.Study, "ask", met(optuna.Study.ask, first=True))
    mine = threading.get_ident()
    tell = optuna.Study.tell

    def told(study: optuna.Study, *args: Any, **more: Any) -> Any:
        return (met(tell, first=False) if threading.get_ident() == mine else tell)(study, *args, **more)

    monkeypatch.setattr(optuna.Study, "tell", told)
    assert command(*ask(out, 1)) == 0
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{out}/study.db")
    assert [one.state.name for one in study.get_trials()] == ["COMPLETE"]


def test_a_sweep_lies_where_it_was_asked_to_and_says_if_its_study_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lr? 50%41 #1"
    assert command(*ask(out, 1)) == 0
    assert (out / "study.db").read_bytes()[:6] == b"SQLite"
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    whole = (out / "study.db").read_bytes()
    with contextlib.closing(sqlite3.connect(out / "study.db")) as study:
        ((page,),) = study.execute("select rootpage from sqlite_master where name = 'trials'")
    within = whole[: 4096 * (page - 1)] + b"no study" * 512 + whole[4096 * page :]
    for damaged in (b"no study" * 999, within):
        (out / "study.db").write_bytes(damaged)
        capsys.readouterr()
        assert command(*ask(out, 2)) == 2
        said = capsys.readouterr().err
        assert "study.db: is damaged, or is none of Optuna's: " in said
        assert said.count("\n") == 1
        assert (out / "study.db").read_bytes() == damaged


def test_a_study_that_cannot_be_reached_is_not_called_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*ask(tmp_path / "out", 1)) == 0
    (tmp_path / "out" / "study.db").unlink()
    (tmp_path / "out" / "study.db").mkdir()
    capsys.readouterr()
    assert command(*ask(tmp_path / "out", 2)) == 1
    assert "study.db: unable to open database file\n" in capsys.readouterr().err
    assert command(*ask(tmp_path / "u\udcff", 1)) == 2
    assert "is not Unicode: use another name" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr", "expected key=low:high"),
        ("optimizer.generator.lr=1", "expected key=low:high"),
        ("optimizer.generator.lr=2:1", "must be below"),
        ("optimizer.generator.lr=0:1:log", "begins above 0"),
        ("optimizer.generator.lr=a:b", "expected key=low:high"),
        ("optimizer.generator.lr=1e-4:1e-2:lin", "expected key=low:high"),
        ("optimizer.generator.lt=1e-4:1e-2", "did you mean"),
        ("optimizer.generator.beta1=0.1:1.5", "beta1"),
        ("objective.kind=hinge,hnge", "hnge"),
    ],
)
def test_a_range_that_cannot_be_searched_is_refused(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert (
        command("sweep", "mlp-relu", "--range", text, "--images", 50, "--data", "digits", "--out", out) == 2
    )
    said = capsys.readouterr().err
    assert re.fullmatch(r"mulligan: .+\n", said)
    assert words in said
    assert not out.exists()


def test_ranges_are_read_for_what_they_are() -> None:
    assert sweep.read_range("data.batch=16:128").whole
    log = sweep.read_range("a=1e-4:1e-2:log")
    assert (log.low, log.high, log.log, log.whole) == (1e-4, 1e-2, True, False)
    assert sweep.read_range("objective.kind=hinge,wasserstein").choices == ("hinge", "wasserstein")


def test_without_optuna_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert command(*ask(tmp_path / "out", 1)) == 2
    assert "pip install 'mulligan[sweep]'" in capsys.readouterr().err
