"""The doctor: logs in, verdicts out; and advice that every recipe can take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mulligan
from mulligan import doctor, runlog
from mulligan import recipe as recipes
from mulligan.doctor.causes import CAUSES
from mulligan.doctor.prescriptions import PRESCRIPTIONS, prescribe
from mulligan.doctor.rules import ORDER, RULES
from support import command, small

# What a run that is well looks like, examination by examination.
WELL: dict[str, Any] = {
    "d_loss": 1.2, "g_loss": 0.8, "penalty": 0.0, "real_score": 0.4, "fake_score": -0.4,
    "separation": 0.75, "slope": 1.0, "d_grad": 0.5, "g_grad": 0.8, "d_update": 3e-3, "g_update": 3e-3,
    "diversity": 0.9, "latent_effect": 0.9, "energy": 0.02, "d_dead": 0.1, "g_dead": 0.0,
    "real_low": 0.0, "real_high": 1.0,
}  # fmt: skip
BATCH = 128
EVERY = 20 * BATCH
RECIPE = recipes.read("mlp-relu")


def course(n: int = 20, **ill: Any) -> list[runlog.Row]:
    """A log in which signs take the values given: one for all examinations, or one after the other."""

    def at(value: Any, i: int) -> Any:
        return value[min(i, len(value) - 1)] if isinstance(value, list) else value

    return [
        {
            "images": (i + 1) * EVERY,
            "step": 20 * (i + 1),
            "vitals": WELL | {k: at(v, i) for k, v in ill.items()},
        }
        for i in range(n)
    ]


def cards(n: int = 8, **figures: Any) -> list[runlog.Row]:
    well = {"judge": "mnist", "frechet": 0.6, "frechet_floor": 0.2, "classes": [9] * 10, "missing": []}
    return [{"images": (i + 1) * 2 * EVERY, "card": well | figures} for i in range(n)]


def kinds(rows: list[runlog.Row], recipe: recipes.Recipe = RECIPE) -> list[str]:
    return [verdict.kind for verdict in doctor.diagnose(recipe, rows).verdicts]


def with_(*changes: str, name: str = "mlp-relu") -> recipes.Recipe:
    return recipes.read(name, changes)


R1R2 = with_(name="relativistic-r1r2")
RISING = [10.0**i for i in range(20)]

ILL: dict[str, tuple[list[runlog.Row], recipes.Recipe]] = {
    "non-finite": ([*course(3), {"images": 9000, "step": 70, "not_finite": "D's loss"}], RECIPE),
    "wrong-pixel-range": (course(real_high=0.01), RECIPE),
    "learning-rate-too-high": (course(g_update=0.4), RECIPE),
    "learning-rate-too-low": (course(d_update=1e-6, g_update=1e-6, energy=1.2), RECIPE),
    "exploding-gradient": (course(real_score=RISING), with_("objective.kind=wasserstein")),
    "saturated-units": (course(g_saturated=[0.0, 0.1, 0.99]), with_(name="mlp-tanh")),
    "dead-units": (course(g_dead=[0.0, 0.1, 0.8]), RECIPE),
    "batchnorm-leak": (course(batch_effect=[0.001, 0.3]), with_(name="mlp-batchnorm")),
    "latent-ignored": (course(diversity=1e-6, latent_effect=1e-6, energy=1.2, separation=1.0), RECIPE),
    "vanishing-generator-gradient": (
        course(g_grad=1e-6, separation=1.0, energy=0.8),
        with_("objective.kind=minimax"),
    ),
    "penalty-too-strong": (course(separation=0.52, energy=0.9), R1R2),
    "penalty-too-weak": (course(separation=1.0, energy=0.9), R1R2),
    "oscillation": (course(centre=[[float(i % 2)] * 8 for i in range(20)], energy=0.5), RECIPE),
    "discriminator-overpowers": (course(separation=1.0, energy=0.9, d_loss=1e-5), RECIPE),
    "mode-collapse": (course(diversity=[0.9] * 8 + [0.02], latent_effect=[0.9] * 8 + [0.02]), RECIPE),
    "missing-classes": (course() + cards(missing=[4, 6]), RECIPE),
    "memorising": (course(closer=[0.4, 0.6, 0.99]), RECIPE),
    "undertrained": (course(3, energy=0.9), RECIPE),
}


def test_every_kind_is_known_everywhere() -> None:
    assert set(ORDER) == set(RULES) == set(CAUSES) == set(PRESCRIPTIONS) == set(ILL)
    assert len(ORDER) == 18


def test_a_run_that_goes_on_has_not_had_too_little() -> None:
    rows, recipe = ILL["undertrained"]
    assert [verdict.kind for verdict in doctor.diagnose(recipe, rows).verdicts] == ["undertrained"]
    assert doctor.diagnose(recipe, rows, running=True).verdicts == ()


@pytest.mark.parametrize("kind", ILL)
def test_each_disease_is_named_first(kind: str) -> None:
    rows, recipe = ILL[kind]
    if kind != "wrong-pixel-range":
        for row in rows:
            row.get("vitals", {})["real_low"] = recipe.data.pixels[0]
    assert kinds(rows, recipe)[:1] == [kind]


@pytest.mark.parametrize("recipe", recipes.names())
def test_what_is_well_is_left_alone(recipe: str) -> None:
    low, high = recipes.read(recipe).data.pixels
    well = course(real_low=low, real_high=high)
    for row in well:
        row["images"] *= 10
    assert kinds(well, recipes.read(recipe)) == []
    assert doctor.diagnose(recipes.read(recipe), []).healthy


def test_the_onset_is_when_it_began() -> None:
    rows = course(20, diversity=[0.9] * 9 + [0.01])
    (verdict,) = doctor.diagnose(RECIPE, rows).verdicts
    assert abs(verdict.onset_images - 10 * EVERY) <= EVERY  # a median of three is one late


def test_what_has_passed_is_no_verdict() -> None:
    assert kinds(course(diversity=[0.9] * 5 + [0.01] * 5 + [0.9] * 10)) == []
    assert kinds(course(diversity=[0.02, 0.02, 0.1, 0.3, 0.9])) == []  # how every run begins


def test_a_painter_at_the_ends_of_its_range_is_given_room() -> None:
    signs = {"diversity": [0.1, 0.02, 1e-3], "fake_edge": [0.0, 0.5, 0.97], "real_edge": 0.89, "energy": 0.5}
    verdict = doctor.diagnose(R1R2, course(12, real_low=-1.0, separation=1.0, **signs)).verdicts[0]
    assert verdict.kind == "saturated-units"
    assert [one.set for one in verdict.advice] == ["data.pixels=[-0.8, 0.8]"]
    inside = with_("data.pixels=[-0.8, 0.8]", name="relativistic-r1r2")  # whose black is no end of the tanh
    assert "saturated-units" not in kinds(course(12, real_low=-0.8, real_high=0.8, **signs), inside)
    assert kinds(course(12, real_low=-0.8, real_high=0.33), inside) == []  # dim, as it was before
    # Black where the reals are black, and of many kinds: that is how digits look
    assert kinds(course(12, real_low=-1.0, fake_edge=0.9, real_edge=0.89), R1R2) == []


def test_weights_that_grew_tell_of_updates_that_nobody_saw() -> None:
    sizes = [0.05] * 9 + [0.9]  # the update that did it lay between two examinations
    (verdict,) = doctor.diagnose(RECIPE, course(20, g_weight=sizes)).verdicts
    assert verdict.kind == "learning-rate-too-high"
    assert verdict.onset_images == 10 * EVERY
    assert "the generator's 18-fold" in verdict.evidence.text
    assert any(one.set.startswith("optimizer.generator.lr=") for one in verdict.advice)
    assert not any(one.set.startswith("optimizer.discriminator") for one in verdict.advice)
    assert kinds(course(20, g_weight=[0.05, 0.1, 0.2, 0.4])) == []
    seldom = course(20, d_weight=[0.05, 0.22])
    for row in seldom:
        row["images"] *= 300  # 6,000 updates from one to the next: mlp-relu, which is well, grows so
    assert kinds(seldom) == []


def test_an_average_that_remembers_its_beginning_misses_no_class() -> None:
    rows = course() + cards(missing=[0, 1])
    assert kinds(rows, with_("ema.half_life=1000000")) == []


def test_a_note_is_no_illness() -> None:
    diagnosis = doctor.diagnose(RECIPE, course(3, energy=0.9))
    assert [verdict.severity for verdict in diagnosis.verdicts] == ["note"]
    assert diagnosis.healthy


FIGURES = {"real_low": 0.0, "real_high": 0.1, "g_update": 0.5, "d_update": 0.5, "g_dead": 0.9, "d_dead": 0.9}
FIGURES |= {
    "images": 1000.0,
    "g_saturated": 0.9,
    "d_saturated": 0.9,
    "batch_effect": 0.5,
    "d_batch_effect": 0.5,
}
EASY: dict[str, Callable[[recipes.Recipe], Any]] = {  # illnesses that a recipe without the organ cannot have
    "penalty-too-strong": lambda recipe: recipe.penalty.used,
    "penalty-too-weak": lambda recipe: recipe.penalty.used,
}


@pytest.mark.parametrize("kind", ORDER)
@pytest.mark.parametrize("name", recipes.names())
def test_advice_leaves_a_recipe_that_can_be_read_and_differs(name: str, kind: Any) -> None:
    recipe = recipes.read(name)
    if kind in EASY and not EASY[kind](recipe):
        return
    advice = prescribe(kind, recipe, FIGURES)
    sets = tuple(one.set for one in advice if one.set)
    changed = recipes.from_dict(recipes.overridden(recipe.model_dump(exclude_none=True), sets))
    assert not sets or recipes.differences(recipe, changed)
    assert all(one.why and one.source for one in advice)
    # Asked once more it has something else to say, or the same with more force.
    again = tuple(one.set for one in prescribe(kind, changed, FIGURES) if one.set)
    recipes.from_dict(recipes.overridden(changed.model_dump(exclude_none=True), again))


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_can_be_given_room(name: str) -> None:
    recipe = recipes.read(name)
    if recipe.generator.output == "linear":
        return
    (advice,) = prescribe("saturated-units", recipe, {"fake_edge": 0.97, "diversity": 1e-4})
    changed = recipes.from_dict(recipes.overridden(recipe.model_dump(exclude_none=True), (advice.set,)))
    low, high = recipe.data.pixels
    assert low < changed.data.pixels[0] < changed.data.pixels[1] < high


NUMBER = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.text(max_size=3)
SIGNS = st.dictionaries(st.sampled_from(sorted(WELL)) | st.text(max_size=5), NUMBER, max_size=8)
CARD = st.dictionaries(
    st.sampled_from(["missing", "classes", "modes", "modes_floor", "frechet", "frechet_floor"]),
    NUMBER | st.lists(NUMBER, max_size=3),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"images": st.integers(0, 10**9)},
        optional={"vitals": SIGNS, "card": CARD, "step": NUMBER, "not_finite": NUMBER},
    ),
    max_size=12,
)


@given(ROWS)
def test_no_log_confuses_it(rows: list[runlog.Row]) -> None:
    json.dumps(doctor.diagnose(RECIPE, rows).as_dict())


# The command line


@pytest.fixture(scope="module")
def ill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with latents that hardly differ."""
    latents = ("latent.low=-1e-4", "latent.high=1e-4", "card.every=0", "checkpoint.every=6400")
    out = tmp_path_factory.mktemp("ill") / "run"
    mulligan.train("mlp-relu", data="digits", steps=250, out=out, overrides=(*small("mlp-relu"), *latents))
    return out


def test_it_says_what_why_and_what_to_change(ill: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("doctor", ill) == 0
    out = capsys.readouterr().out
    assert out.startswith("critical: latent-ignored, since 128 images\n")
    assert "change:  latent.low=-1.0, latent.high=1.0: " in out
    assert f"mulligan retry {ill}" in out


def test_json_is_as_promised(ill: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("doctor", ill, "--json", "-") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["schema"], value["healthy"]) == (1, False)
    first = value["verdicts"][0]
    assert first.keys() == {"kind", "severity", "onset_images", "evidence", "cause", "advice"}
    assert first["advice"][0].keys() == {"set", "why", "source"}
    assert all((ill / picture).is_file() for picture in first["evidence"]["pictures"])
    assert command("doctor", ill, "--json", tmp_path / "verdicts.json") == 0
    assert json.loads((tmp_path / "verdicts.json").read_text("utf-8")) == value


def test_a_run_in_progress_can_be_examined(ill: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "recipe.toml").write_bytes((ill / "recipe.toml").read_bytes())
    with runlog.lock(begun):
        assert doctor.examine(begun).healthy  # nothing has been logged yet
    log = (ill / "log.jsonl").read_bytes()
    (begun / "log.jsonl").write_bytes(log[: len(log) - 7])  # a last line half written
    assert doctor.examine(begun).verdicts[0].kind == "latent-ignored"


@pytest.mark.parametrize("damage", ["absent", "recipe.toml", "log.jsonl"])
def test_what_is_no_run_is_said_in_a_line(
    damage: str, ill: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    if damage != "absent":
        run.mkdir()
        for name in ("recipe.toml", "log.jsonl"):
            (run / name).write_bytes((ill / name).read_bytes())
        (run / damage).write_text("}\n")
    assert command("doctor", run) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_run_itself_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [f"--set={change}" for change in (*small("mlp-relu"), "latent.low=-1e-4", "latent.high=1e-4")]
    assert (
        command("train", "mlp-relu", "--data", "digits", "--steps", 250, "--out", tmp_path / "run", *sets)
        == 0
    )
    out = capsys.readouterr().out
    assert "doctor:  critical: latent-ignored, since 128 images" in out  # while it trains
    assert "doctor:    critical: latent-ignored, since 128 images" in out  # and when it has ended


def test_progress_carries_the_verdict(tmp_path: Path) -> None:
    said = []
    mulligan.train(
        "mlp-relu",
        data="digits",
        steps=250,
        out=tmp_path / "run",
        overrides=(*small("mlp-relu"), "latent.low=-1e-4", "latent.high=1e-4"),
        on_progress=lambda progress: said.append(progress.verdict and progress.verdict.kind),
    )
    assert said[0] is None
    assert said[-1] == "latent-ignored"


# The second shot


def test_without_a_change_it_takes_the_advice(ill: Path, tmp_path: Path) -> None:
    run = mulligan.retry(ill, out=tmp_path / "second")
    made = recipes.read(run.directory / "recipe.toml")
    assert (made.latent.low, made.latent.high) == (-1.0, 1.0)
    parent = runlog.parent(run.directory)
    assert parent is not None
    assert parent.images == 0  # before the onset there is but the beginning
    assert "latent-ignored" not in [verdict.kind for verdict in doctor.examine(run.directory).verdicts]


def test_a_run_that_is_lost_ends_early_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sets = [f"--set={change}" for change in (*small("mlp-relu"), "latent.low=-1e-4", "latent.high=1e-4")]
    arguments = ("--data", "digits", "--steps", 2000, "--second-shots", 1, *sets)
    assert command("train", "mlp-relu", *arguments) == 0
    assert "latent-ignored since 128 images: " in capsys.readouterr().out
    first, second = sorted((tmp_path / "runs").iterdir())
    assert runlog.rows(first)[-1]["images"] < 0.5 * 2000 * 128
    parent = runlog.parent(second)
    assert parent is not None
    assert parent.run == str(first)
    assert parent.changes == ["latent.low was -0.0001, is -1.0", "latent.high was 0.0001, is 1.0"]


def test_where_out_is_given_the_shots_go_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [f"--set={change}" for change in (*small("mlp-relu"), "latent.low=-1e-4", "latent.high=1e-4")]
    arguments = ("--data", "digits", "--steps", 500, "--second-shots", 1, "--out", tmp_path / "run", "-q")
    assert command("train", "mlp-relu", *arguments, *sets) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'run-2'}\n"


def test_what_breaks_in_an_examination_does_not_harm_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_state: object) -> None:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr("mulligan.vitals.examine", broken)
    run = mulligan.train(
        "mlp-relu", data="digits", steps=30, out=tmp_path / "run", overrides=small("mlp-relu")
    )
    assert run.steps == 30
    said = [row["vitals"] for row in runlog.rows(run.directory) if "vitals" in row]
    assert said
    assert said[0] == {"failed": "ZeroDivisionError: by design"}
    assert doctor.examine(run.directory).healthy


def test_a_run_that_is_not_finite_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sets = [f"--set=optimizer.{side}.eps=1e-300" for side in ("generator", "discriminator")]
    assert command("train", "mlp-relu", "--data", "digits", "--steps", 40, *sets) == 1
    assert command("train", "mlp-relu", "--data", "digits", "--steps", 40, "--second-shots", 2, *sets) == 0
    failed, again, second = sorted((tmp_path / "runs").iterdir())
    assert doctor.examine(failed).verdicts[0].kind == "non-finite"
    assert doctor.examine(again).verdicts[0].kind == "non-finite"
    assert recipes.read(second / "recipe.toml").optimizer.generator.eps == 1e-8
    assert runlog.rows(second)[-1]["images"] == 40 * 128
