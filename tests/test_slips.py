"""What newcomers tripped over: the tool says what is so, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mulligan
from mulligan import data, doctor, recipe, runlog, training
from mulligan.doctor.prescriptions import prescribe
from mulligan.errors import UserError
from support import command

SMALL = ("generator.hidden=[8]", "discriminator.hidden=[8]", "samples.every=0", "card.every=0")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose time was up long before its log's next row was due."""
    out = tmp_path_factory.mktemp("slips") / "run"
    mulligan.train(
        "mlp-relu", data="digits", out=out, minutes=0.02, overrides=(*SMALL, "checkpoint.every=1280")
    )
    return out


def test_a_run_that_time_ended_says_how_far_it_came(run: Path) -> None:
    seen = mulligan.load(run).about.images
    rows = runlog.rows_so_far(run)
    assert seen > 1280
    assert rows[-1]["images"] == seen
    assert "vitals" in rows[-1]


def test_what_goes_on_to_the_budget_is_not_told_to_go_beyond_it() -> None:
    chosen = recipe.read("mlp-relu")
    budget = chosen.budget.images
    (early,) = prescribe("undertrained", chosen, {"images": 1280.0})
    assert early.why == f"`mulligan resume` goes on where it ended, to its budget of {budget:,} images"
    for unlike in ("stop.kind=plateau", f"budget.steps={budget // 64}"):
        # A plain resume would end at once
        (more,) = prescribe("undertrained", recipe.read("mlp-relu", [unlike]), {"images": 1280.0})
        assert f"`--images {budget}`" in more.why
    (late,) = prescribe("undertrained", chosen, {"images": budget + 32.0})
    assert f"`--images {4 * (budget + 32)}`" in late.why


def test_compare_names_the_run_that_is_not_there(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("compare", run, tmp_path / "none") == 2
    assert capsys.readouterr().err == f"mulligan: {tmp_path / 'none'}: no such run directory\n"


def test_a_folder_of_runs_is_no_run(run: Path) -> None:
    with pytest.raises(UserError, match=r"expected a run directory, with recipe\.toml in it$"):
        doctor.examine(run.parent)


def test_compare_says_what_it_wrote(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compare", run, run, "--out", tmp_path / "both.html") == 0
    assert f"{tmp_path / 'both.html'}: " in capsys.readouterr().out


def test_a_number_that_became_a_schedule_is_not_called_none() -> None:
    curve = "penalty.r1={images=[0,1000],values=[1.0,0.1]}"
    before, now = recipe.read("relativistic-r1r2"), recipe.read("relativistic-r1r2", [curve])
    assert f"penalty.r1 was {before.penalty.r1}, is a schedule" in recipe.differences(before, now)
    assert "penalty.r1.values was None, is [1.0, 0.1]" in recipe.differences(before, now)
    assert f"penalty.r1 was a schedule, is {before.penalty.r1}" in recipe.differences(now, before)


def test_a_damaged_checkpoint_names_the_one_before_it(run: Path, tmp_path: Path) -> None:
    kept = sorted((run / "checkpoints").glob("0*.safetensors"))
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / kept[0].name).write_bytes(kept[0].read_bytes())
    (folder / kept[-1].name).write_bytes(kept[-1].read_bytes()[:100])
    with pytest.raises(UserError, match=f"delete it to go on from {kept[0].name}$"):
        mulligan.load(tmp_path / "run")
    (folder / "000099999999.safetensors").write_bytes(kept[0].read_bytes())
    with pytest.raises(UserError, match="cannot be read as a checkpoint") as refused:
        mulligan.load(folder / kept[-1].name)
    assert "delete" not in str(refused.value)  # what comes after it is whole


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"steps": "3"}, "steps: expected a whole number of at least 1, got '3'"),
        ({"steps": 0}, "steps: expected a whole number of at least 1, got 0"),
        ({"overrides": "ema.half_life=20"}, r"expected a list of path\.to\.key=value, got 'ema"),
    ],
)
def test_wrong_arguments_of_train(changed: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        mulligan.train("mlp-relu", data="digits", out=tmp_path / "run", **changed)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 2.5}, "n: expected a whole number of at least 1, got 2.5"),
        ({"n": 4, "labels": 3}, "labels: expected a list of classes, got 3"),
        ({"n": 2, "labels": ["a", "b"]}, r"labels: there is no class 'a' \(choose from 0, "),
    ],
)
def test_wrong_arguments_of_sample(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        mulligan.load("mnist").sample(**arguments)


def test_small_groups_learnt_by_heart_are_made_larger() -> None:
    finer = ["condition.smallest=10"]
    (first,) = prescribe("memorising", recipe.read("swift", finer), {})
    assert first.set.startswith("augment.policy=")
    (then,) = prescribe("memorising", recipe.read("swift", [*finer, first.set]), {})
    assert then.set == "condition.smallest=50"
    (last,) = prescribe("memorising", recipe.read("swift", [first.set]), {})
    assert last.set == ""


@pytest.mark.parametrize("size", ["28", 12.5, 0, 2000])
def test_a_size_that_is_none(size: Any) -> None:
    with pytest.raises(UserError, match=r"image size: expected 1\.\.1024 pixels, got "):
        data.load("digits", size=size)


def test_pictures_of_other_kinds_are_counted(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.tiff", "d.TIF", "e.gif", ".hidden.gif", "notes.txt"):
        kind = "PNG" if name.endswith("png") else None
        (Image.new("L", (8, 8)).save(tmp_path / name, kind) if kind else (tmp_path / name).touch())
    found = data.load(str(tmp_path), size=8)
    assert len(found.images) == 2
    assert found.note.startswith("passed over 3 of other kinds (.gif, .tif, .tiff): .png, .jpg, ")
    with pytest.raises(UserError, match=r"only 2 images \(passed over 3 of other kinds"):
        mulligan.train("swift", data=found, size=28, out=tmp_path / "run")


def test_a_class_of_another_kind_is_missed(tmp_path: Path) -> None:
    for name in ("cats/a.tif", "dogs/a.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name, "PNG")
    found = data.load(str(tmp_path), size=8)
    assert found.class_names == ("dogs",)
    assert found.note.startswith("passed over 1 of other kinds (.tif)")


def test_a_resumed_run_says_how_long_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    mulligan.train("mlp-relu", data="digits", out=out, images=256, overrides=SMALL)
    assert command("resume", out) == 0
    spent = capsys.readouterr().out
    assert "budget was spent before" in spent
    assert "speed:" not in spent
    assert command("resume", out, "--images", 512) == 0
    assert " to go\n" in capsys.readouterr().out


@pytest.mark.parametrize("tool", ["generate", "resume", "report", "doctor", "evaluate"])
def test_a_slip_in_a_path_names_what_lies_beside_it(
    tool: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tool, run.with_name("runn")) == 2
    assert f"(did you mean {str(run)!r}?)" in capsys.readouterr().err


def test_a_slip_in_the_name_of_what_the_package_comes_with() -> None:
    with pytest.raises(UserError, match=r"mnits: no such .* \(did you mean 'mnist'\?\)"):
        mulligan.load("mnits")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 1.5}, "--seed: expected a whole number from 0 to "),
        ({"seed": None}, "--seed: expected a whole number from 0 to "),
        ({"images": 0}, "images: expected a whole number of at least 1, got 0"),
        (
            {"data": np.zeros((4, 1, 8, 8), np.uint8)},
            r"data: expected .*, got ndarray: .*Dataset takes arrays",
        ),
        ({"device": None}, "--device None is not known"),
        ({"precision": None}, "--precision None is not known"),
    ],
)
def test_values_of_the_wrong_kind_leave_nothing_behind(
    changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        mulligan.train("mlp-relu", **{"data": "digits", "out": tmp_path / "run", **changed})
    assert not (tmp_path / "run").exists()


def test_a_run_is_taken_for_its_directory_and_numpys_numbers_for_numbers(tmp_path: Path) -> None:
    images = data.load("digits").images[:200]
    made = mulligan.train(
        "mlp-relu",
        data=data.Dataset("mine", images),
        size=8,
        images=np.int64(256),  # type: ignore[arg-type]  # as a loop over np.arange gives
        seed=np.int64(1),  # type: ignore[arg-type]
        out=tmp_path / "run",
        overrides=SMALL,
    )
    assert mulligan.load(made).sample(np.int64(2)).shape == (2, 1, 8, 8)  # type: ignore[arg-type]
    assert doctor.examine(made).verdicts == doctor.examine(made.directory).verdicts
    assert mulligan.report(made) == made.report
    again = mulligan.resume(made, images=512, data=data.Dataset("mine", images))
    assert again.images == 512
    with pytest.raises(UserError, match="run: expected a path, got int"):
        mulligan.resume(3)  # type: ignore[arg-type]


def test_an_out_that_is_taken_is_refused_before_anything_is_read(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"--out .*: is not empty"):
        mulligan.train("mlp-relu", data="nowhere", out=run)
    assert command("train", "mlp-relu", "--data", "nowhere", "--out", run) == 2
    assert "is not empty" in capsys.readouterr().err


def test_classes_are_asked_for_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, name in enumerate(("cat", "dog", "owl")):
        (tmp_path / "my" / name).mkdir(parents=True)
        for k in range(12):
            Image.new("L", (8, 8), 20 * k + i).save(tmp_path / "my" / name / f"{k}.png")
    out = tmp_path / "run"
    small = (*SMALL, "data.batch=8", "condition.kind=concat")
    mulligan.train("mlp-relu", data=str(tmp_path / "my"), size=8, images=16, out=out, overrides=small)
    model = mulligan.load(out)
    assert (model.sample(2, labels=["owl", "cat"]) == model.sample(2, labels=[2, 0])).all()
    assert command("generate", out, "--labels", "dog,2", "--out", tmp_path / "x.npz") == 0
    assert np.load(tmp_path / "x.npz")["labels"].tolist() == [1, 2]
    assert command("info", out) == 0
    assert "classes:     0 cat, 1 dog, 2 owl\n" in capsys.readouterr().out
    assert command("generate", out, "--labels", "dgo", "--out", tmp_path / "x.png") == 2
    assert "there is no class 'dgo' (did you mean 'dog'?)" in capsys.readouterr().err


def test_folders_named_by_numbers_are_in_their_order(tmp_path: Path) -> None:
    for name in ("10", "2", "1"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "a.png")
    mine = data.load(str(tmp_path), size=8)
    assert mine.class_names == ("1", "2", "10")
    over = (*SMALL, "data.batch=3", "condition.kind=concat")
    model = mulligan.train("mlp-relu", data=mine, images=3, out=tmp_path / "run", overrides=over).model()
    assert model.numbered(["1", "002", "10", 0]) == [0, 1, 2, 0]
    with pytest.raises(UserError, match="there is no class '0'"):  # a place, where names are numbers too
        model.sample(1, labels=["0"])


def test_a_path_stays_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is called as a set is, and named as a folder, is that folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    for k in range(12):
        Image.new("L", (28, 28), 20 * k).save(tmp_path / "digits" / f"{k}.png")
    assert mulligan.evaluate("./digits", reference="mnist", thorough=False).n == 12
    for missing in ("./mnist", "a\0b/c"):
        with pytest.raises(UserError, match="no such run directory"):
            mulligan.load(missing)


def test_what_is_there_is_not_what_was_meant(run: Path) -> None:
    with pytest.raises(UserError, match=r"log\.jsonl: is a file: expected a run directory$"):
        doctor.examine(run / "log.jsonl")


def test_next_steps_are_ones_that_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a run"
    assert command("train", "mlp-relu", "--data", "digits", "--images", 256, "--out", out) == 0
    said = capsys.readouterr().out
    assert "judge it:  mulligan reference digits --out reference\n" in said
    assert f"           mulligan evaluate '{out}' --reference reference\n" in said
    points = tmp_path / "points"
    assert command("train", "points", "--data", "ring-8", "--images", 64, "--out", points) == 0
    assert f"more:      mulligan generate {points} -n 64 --out points.npz\n" in capsys.readouterr().out


def test_points_from_a_file_are_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ring, file = data.load("ring-8"), tmp_path / "ring.npz"
    data.write_npz(file, ring.images[:2500], None)
    assert command("evaluate", file, "--reference", "ring-8") == 0
    assert "modes found                       8.00" in capsys.readouterr().out
    assert command("reference", file, "--out", tmp_path / "ref") == 2
    assert "points in a plane: they are judged by --reference ring-8" in capsys.readouterr().err
    data.write_npz(file, np.full((2500, 2, 1, 1), np.nan, np.float32), None)
    assert command("evaluate", file, "--reference", "ring-8") == 2
    assert "expected finite coordinates" in capsys.readouterr().err


def test_classes_without_images_are_said_and_not_drawn(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), np.uint8)
    mine = data.Dataset("mine", images, np.repeat([1, 3], 20))
    over = (*SMALL, "data.batch=8", "condition.kind=concat")
    assert training.prepare("mlp-relu", data=mine, overrides=over).note == (
        "2 of 4 classes have no image and cannot be asked for: 0, 2."
    )
    made = mulligan.train("mlp-relu", data=mine, images=16, out=tmp_path / "run", overrides=over)
    assert made.report is not None
    model = made.model()
    assert (model.interpolate(1) == model.interpolate(1, label=1)).all()
    labels = model.sampler.conditions.labels(5)
    assert labels is not None
    assert labels.tolist() == [1, 3, 1, 3, 1]
    with pytest.raises(UserError, match="no image of class 2 was trained on"):
        model.sample(1, labels=[2])


def test_an_average_may_begin_with_a_second_shot(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = min(int(path.stem) for path in (run / "checkpoints").glob("0*.safetensors") if int(path.stem))
    again = mulligan.retry(
        run,
        from_images=first,
        images=10 * first,
        overrides=("ema.half_life=2000",),
        data="digits",
        out=tmp_path / "a",
    )
    came = runlog.parent(again.directory)
    assert came is not None
    assert came.images == first
    assert (
        command("retry", run, "--from", first, "--set", "generator.hidden=[9]", "--out", tmp_path / "b") == 0
    )
    assert (
        f"images of {run}, for the weights of {first:012d}.safetensors do not fit" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("recipe_", "words"),
    [
        ("mine", "(did you mean 'mine.toml'?)"),
        ("my", ": images go to --data my"),
        ("./my", ": images go to --data my"),
        ("lab.npz", ": images go to --data lab.npz"),
    ],
)
def test_a_recipe_that_is_none(
    recipe_: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my").mkdir()
    (tmp_path / "mine.toml").write_text('extends = "swift"')
    with pytest.raises(UserError) as caught:
        recipe.read(recipe_)
    assert str(caught.value).endswith(words)


def test_where_nothing_can_be_written_is_said_first(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for tool, option in (("doctor", "--json"), ("evaluate", "--json")):
        assert command(tool, run, option, tmp_path / "file" / "x.json") == 2
        assert f"{tmp_path}/file/x.json: cannot be written: " in capsys.readouterr().err
        assert command(tool, tmp_path / "none", option, tmp_path / "other" / "x.json") == 2
        assert not (tmp_path / "other").exists()
    assert command("doctor", run, "--json", tmp_path / "new" / "x.json") == 0
