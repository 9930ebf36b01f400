"""The report: what is in it, that nothing breaks out of it, and what it says of damaged runs."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import shlex
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mulligan
from mulligan import data as data_room
from mulligan import doctor, recipe, reporting
from mulligan.errors import RunError, UserError
from mulligan.files import try_lock
from mulligan.reporting import curves, embedding, facts, pages, reproducing
from mulligan.reporting.curves import Series, thin
from mulligan.reporting.markup import Markup, join, page, tag
from mulligan.state import State
from mulligan.step import Update
from report.conftest import TINY, logged, vitals
from support import command

NO_CARD = (*TINY, "card.every=0")  # making what it is judged by takes longer than the rest
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>&\"'"
ORDER = ["verdicts", "scorecard", "curves", "samples", "classes", "walk", "neighbours", "recipe"]


class Page(HTMLParser):
    """What a browser makes of a page: its elements, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.data = ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script" and data.startswith("{"):
            self.data = data
        elif not self.inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    @property
    def panels(self) -> dict[str, Any]:
        return {panel["title"]: panel for panel in json.loads(self.data)["panels"]}


def read(path: Path) -> Page:
    return Page(path.read_text("utf-8"))


# What is in it


def test_a_training_leaves_one(run: Path) -> None:
    page = read(run / reporting.REPORT)
    assert [attributes["id"] for name, attributes in page.tags if name == "section"] == ORDER
    assert "mlp-relu on digits" in page.text
    assert "Nothing is wrong." in page.text
    assert "None is a copy" in page.text or "a copy" in page.text
    assert {"Losses", "D's mean answers", "Fréchet distance", "Precision and recall"} <= page.panels.keys()
    frechet = page.panels["Fréchet distance"]
    assert frechet["floor"] > 0
    assert len(frechet["series"][0]["low"]) == 2
    assert [frame["images"] for frame in json.loads(page.data)["frames"][0]][-1] == 512


def test_by_hand_it_is_the_same_and_prints_where(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "page.html"
    assert command("report", run, "--out", out) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_bytes() == (run / reporting.REPORT).read_bytes()
    assert mulligan.report(run, out) == out


def test_it_takes_a_moment_and_little_room(run: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    path = reporting.report(run, tmp_path / "x.html")
    assert time.monotonic() - start < 3  # a tenth of it, when nothing else runs
    assert path.stat().st_size < 400_000


def test_verdicts_come_with_evidence_and_a_command(sick: Path) -> None:
    page = read(reporting.report(sick))
    assert "Mode collapse, from 256 images on: Samples differ by 2 %" in page.text
    assert "One picture fools D." in page.text
    assert "--set discriminator.pack=2" in page.text
    assert "— " not in page.text  # the style sheet puts it there
    assert f"mulligan retry {shlex.quote(str(sick))}" in page.text
    evidence = [a for name, a in page.tags if name == "img" and a.get("class") == "evidence"]
    assert [a["alt"] for a in evidence] == ["Samples before", "Samples with it: mode collapse"]
    assert [mark["x"] for mark in json.loads(page.data)["marks"]] == [256, 512]


def test_the_command_of_a_verdict_works(sick: Path, tmp_path: Path) -> None:
    known = facts.read(sick)
    words = reproducing.retry(known, ["latent.size=10"])
    assert command(*words[1:], "--images", "64", "--out", tmp_path / "again", "--quiet") == 0
    page = read(tmp_path / "again" / reporting.REPORT)
    assert "A second shot" in page.text
    assert "Of copy, from 0 images on" in page.text
    assert f"mulligan retry {sick.parent.name}" not in page.text


def test_pictures_from_outside_the_run_stay_there(
    sick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "secret.png")
    verdict = doctor.examine(sick).verdicts[0]
    outside = doctor.Evidence("x", {}, ("../secret.png", "samples/none.png"))
    ill = doctor.Diagnosis((doctor.Verdict("mode-collapse", "critical", 5, outside, "c", verdict.advice),))
    monkeypatch.setattr(doctor, "diagnose", lambda _recipe, _rows, _run, **_more: ill)
    assert all(a.get("class") != "evidence" for _, a in read(reporting.report(sick)).tags)


def test_vital_signs_are_curves(sick: Path) -> None:
    panels = read(reporting.report(sick)).panels
    gradients = panels["Norms of gradients"]
    assert [series["name"] for series in gradients["series"]] == ["D", "G"]
    assert gradients["series"][1]["y"][1] is None
    assert [s["name"] for s in panels["Norms of D's gradients by layer"]["series"]] == [
        *("layers.0.weight", "layers.0.bias"),
    ]
    assert {"Never heard of", "Centre, each"} <= panels.keys()


def test_a_full_scorecard_takes_the_light_ones_place(copy: Path) -> None:
    metric = {"value": 1.5, "low": 1.25, "high": 1.75, "floor": 0.25}
    card = {
        "schema": 1, "reference": "mnist", "n": 1000, "metrics": {"frechet": metric, "news": metric},
        "class_histogram": [10] * 9 + [0], "missing_classes": [9],
        "warnings": [{"kind": "missing-class", "message": "9 is missing"}],
        "near_copies": {"count": 1, "share": 0.001, "floor_share": 0.01}, "absent": {"recall": "lost"},
    }  # fmt: skip
    (copy / facts.SCORECARD).write_text(json.dumps(card))
    page = read(reporting.report(copy))
    assert "1000 images against mnist" in page.text
    assert "1.25 … 1.75" in page.text
    assert "missing-class: 9 is missing" in page.text
    assert "Not measured: recall: lost" in page.text
    assert "Missing: 9." in page.text
    assert any(a.get("class") == "real" for _, a in page.tags)


@pytest.mark.mnist
def test_mnist_is_judged_beside_its_floors_and_classes(tmp_path: Path) -> None:
    run = mulligan.train("mlp-relu", data="mnist", images=512, out=tmp_path / "run", overrides=TINY)
    page = read(run.directory / reporting.REPORT)
    assert len([a for _, a in page.tags if a.get("class") == "real"]) == 10
    cells = re.search(r"precision ?(\S+) ?– ?(\S+)", page.text)
    assert cells
    assert "of 55,000 training images" in page.text


def test_points_are_plotted(tmp_path: Path) -> None:
    small = ("generator.hidden=[8]", "discriminator.hidden=[8]", "card.every=256", "samples.every=0")
    run = mulligan.train("points", data="ring-8", images=512, out=tmp_path / "run", overrides=small)
    page = read(run.directory / reporting.REPORT)
    ids = [attributes["id"] for name, attributes in page.tags if name == "section"]
    assert ids == ["verdicts", "scorecard", "curves", "samples", "classes", "plane", "recipe"]
    assert "modes found" in page.text
    assert "One picture, after 512 images." in page.text


def test_a_run_that_ends_in_an_error_has_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = State.advance

    def broken(state: State) -> Update:
        update = advance(state)
        state.health = torch.tensor(math.inf if state.steps == 9 else 0.0)
        return update

    monkeypatch.setattr(State, "advance", broken)
    with pytest.raises(RunError, match="not finite"):
        mulligan.train("mlp-relu", data="digits", steps=20, out=tmp_path / "run", overrides=NO_CARD)
    assert "Ended early" in read(tmp_path / "run" / reporting.REPORT).text


def test_whatever_goes_wrong_with_it_a_training_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_args: object, **_options: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(pages, "of_run", broken)
    run = mulligan.train("mlp-relu", data="digits", steps=2, out=tmp_path / "run", overrides=TINY)
    assert run.report is None
    assert not (run.directory / reporting.REPORT).exists()
    assert command("train", "mlp-relu", "--data", "digits", "--steps", 2, "--out", tmp_path / "b") == 0
    assert "report:" not in capsys.readouterr().out


def test_a_full_disk_leaves_the_old_one(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "page.html"
    out.write_text("old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"page\.html: cannot be written: No space left"):
        reporting.report(run, out)
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


# Where it stands


def test_a_run_in_progress_says_so(copy: Path) -> None:
    with (copy / ".lock").open("a") as file:
        assert try_lock(file)
        assert "Still in progress" in read(reporting.report(copy)).text
    assert "Still in progress" not in read(reporting.report(copy)).text


def test_a_run_that_was_stopped_says_how_to_go_on(tmp_path: Path) -> None:
    run = mulligan.train(
        "mlp-relu", data="digits", images=2000, out=tmp_path / "a run", overrides=TINY,
        should_stop=lambda progress: progress.steps >= 3,
    )  # fmt: skip
    text = read(run.directory / reporting.REPORT).text
    assert f"Ended early, after 96 of 2,000 images. mulligan resume '{run.directory}' goes on." in text


def test_missing_parts_are_said_to_be_missing(copy: Path) -> None:
    shutil.rmtree(copy / "samples")
    (copy / "grid.png").unlink()
    (copy / "log.jsonl").write_text("")
    text = read(reporting.report(copy)).text
    assert "No picture has been drawn yet." in text
    assert "This run has no scorecard yet." in text
    assert "Nothing has been logged yet." in text


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("log.jsonl", None),
        ("log.jsonl", "{]\n"),
        ("environment.json", None),
        ("environment.json", "[" * 100_000),
        ("environment.json", "[]"),
        ("recipe.toml", None),
        ("recipe.toml", "name = 3"),
        ("parent.json", "{}"),
        ("scorecard.json", "{}"),
        ("scorecard.json", '{"metrics": {"frechet": {"value": "<b>"}}}'),
        ("samples/000000000256.png", "no picture"),
        ("checkpoints/000000000512.safetensors", "no checkpoint"),
    ],
)
def test_a_damaged_run_is_one_line(
    part: str, content: str | None, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / reporting.REPORT).unlink()
    if content is None:
        (copy / part).unlink()
    else:
        (copy / part).write_text(content)
    assert command("report", copy) == 2
    said = capsys.readouterr()
    assert re.fullmatch(r"mulligan: .+\n", said.err)
    assert Path(part).name in said.err
    assert said.out == ""
    assert not (copy / reporting.REPORT).exists()


def test_what_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("report", tmp_path / "none") == 2
    assert "no such run directory" in capsys.readouterr().err
    assert command("report", tmp_path) == 2
    assert "expected a run directory" in capsys.readouterr().err


def test_data_that_is_gone_or_changed_is_said_in_a_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = tmp_path / "images.npz"
    np.savez(images, images=rng.integers(0, 256, (64, 1, 28, 28), dtype=np.uint8))
    run = mulligan.train("mlp-relu", data=images, steps=2, out=tmp_path / "run", overrides=TINY).directory
    assert "of 64 training images" in read(reporting.report(run)).text
    np.savez(images, images=rng.integers(0, 256, (64, 1, 28, 28), dtype=np.uint8))
    assert "has changed since the run" in read(reporting.report(run)).text
    images.unlink()
    assert "is not here: put it back where it was" in read(reporting.report(run)).text


# Nothing breaks out


def test_nothing_that_a_file_says_becomes_html(sick: Path) -> None:
    hostile = sick.with_name("<script>alert(1)<")  # a slash cannot be in a name
    sick.rename(hostile)
    text = (hostile / "recipe.toml").read_text()
    quoted = json.dumps(HOSTILE)
    text = re.sub(r"^title = .*$", lambda _m: f"title = {quoted}", text, flags=re.M)
    (hostile / "recipe.toml").write_text(text)
    environment = json.loads((hostile / "environment.json").read_text())
    environment |= {"cpu": HOSTILE, "packages": {HOSTILE: HOSTILE}, "processes": HOSTILE}
    (hostile / "environment.json").write_text(json.dumps(environment))
    parent = {"run": f"/x/{HOSTILE}", "images": 3, "changes": [f"{HOSTILE} was 1, is 2"]}
    (hostile / "parent.json").write_text(json.dumps(parent))
    card = {"judge": HOSTILE, "n": HOSTILE, "frechet": 1.0, "precision": HOSTILE, "classes": [HOSTILE]}
    logged(
        hostile,
        {"images": 512, "step": 4, "vitals": {HOSTILE: 1.0, "d_grads": {"</script>" + HOSTILE: 2.0}}},
        {"images": 512, "step": 4, "d_loss": HOSTILE, "</script>": 1, "time": {}},
        {"images": 512, "step": 4, "card": card},
    )
    path = reporting.report(hostile)
    page = read(path)
    assert len([name for name, _ in page.tags if name == "script"]) == 2
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert all(str(a["src"]).startswith("data:image/") for _, a in page.tags if "src" in a)
    assert HOSTILE in page.text
    assert any(HOSTILE in title for title in page.panels)
    assert "</script" not in page.data
    for key in ("href", "src", "action"):
        assert all(str(a[key]).startswith("data:") for _, a in page.tags if key in a)
    reporting.compare(hostile, hostile, hostile / "pair.html")
    assert len([name for name, _ in read(hostile / "pair.html").tags if name == "script"]) == 2


def test_the_policy_allows_this_script_alone(run: Path) -> None:
    text = (run / reporting.REPORT).read_text("utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    script = re.search(r"<script>(.*?)</script>", text, re.S)
    assert policy
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert policy[1].startswith("default-src 'none'; img-src data:")
    assert text.index("Content-Security-Policy") < text.index("<title>")


def test_text_is_escaped_by_construction() -> None:
    assert tag("p", "<b>", class_='"x"') == '<p class="&quot;x&quot;">&lt;b&gt;</p>'
    assert tag("p", tag("b", "&"), None, False, hidden=True, id=None) == "<p hidden><b>&amp;</b></p>"
    assert tag("img", src="data:,") == '<img src="data:,">'
    assert len(join("x" * 100_000)) < 3000
    made = page("$title", Markup("$data"), {"a": "</script><!--"}).decode()
    assert "<title>$title</title>" in made
    assert '{"a":"\\u003c/script\\u003e\\u003c!--"}' in made


def test_log_values_that_are_no_numbers_are_gaps(copy: Path) -> None:
    with (copy / "log.jsonl").open("a") as file:
        file.write('{"images": 512, "d_loss": NaN, "g_loss": 1e999, "d_real": true, "d_fake": [1]}\n')
        file.write('{"images": 513, "vitals": {"d_grad": null, "d_grads": null}}\n')
        file.write('{"images": 514, "vitals": {"d_grad": -Infinity, "d_grads": {"a": "b"}}, "card": {}}\n')
    panels = read(reporting.report(copy)).panels
    assert [series["y"][-1] for series in panels["Losses"]["series"]] == [None, None]
    assert "Norms of gradients" not in panels


# Size


def test_a_long_log_is_thinned_and_keeps_its_spikes() -> None:
    y: list[float | None] = [float(i % 7) for i in range(100_000)]
    y[54_321], y[77_777] = 1e6, None
    thinned = thin(Series("a", [float(i) for i in range(100_000)], y), 400)
    assert len(thinned.y) <= 402
    assert (thinned.x[0], thinned.x[-1]) == (0, 99_999)
    assert 1e6 in thinned.y
    assert None in thinned.y


def test_no_run_makes_it_large(sick: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(45):  # noise, which no encoder makes small
        noise = rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)
        Image.fromarray(noise).save(sick / "samples" / f"{i + 600:012d}.png", compress_level=0)
    layers = {f"layer{i}": i / 7 for i in range(100)}
    logged(sick, *({**vitals(i), "vitals": {f"sign{j}": layers for j in range(10)}} for i in range(40)))
    path = reporting.report(sick)
    assert path.stat().st_size <= pages.LIMIT
    frames = json.loads(read(path).data)["frames"][0]
    assert frames[-1]["images"] == 644
    assert 1 < len(frames) < 40
    assert "Sign0, each, the first 24 of 100" in read(path).panels


def test_frames_are_spread_evenly_with_the_last(tmp_path: Path) -> None:
    assert list(embedding.spread(3, 40)) == [0, 1, 2]
    assert list(embedding.spread(9, 3)) == [0, 4, 8]
    assert list(embedding.spread(9, 1)) == [8]
    assert list(embedding.spread(0, 3)) == []
    assert embedding.frames(tmp_path, 3) == []


# Making it again


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("optimizer.generator.lr=1e-4", "generator.hidden=[8, 9]"),
        ("stop.kind=plateau", "objective.kind=hinge", 'title="a b; $(rm -rf /)"'),
        ("penalty.r1=0.5", "discriminator.kind=dcgan", "discriminator.norm=none"),
        ('step={order="g-then-d"}',),
    ],
)
def test_the_settings_make_the_same_recipe(changes: tuple[str, ...]) -> None:
    changed = recipe.read("mlp-relu", changes)
    sets = reproducing.overrides(changed)
    assert sets is not None
    assert recipe.read("mlp-relu", sets) == changed


def test_the_command_makes_the_same_plan(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = reproducing.command(facts.read(run))
    assert words is not None
    assert words[:5] == ["mulligan", "train", "mlp-relu", "--data", "digits"]
    assert words[5:11] == ["--images", "512", "--seed", "7", "--precision", "exact"]
    assert command(*words[1:], "--out", tmp_path / "again", "--quiet") == 0
    assert (tmp_path / "again" / "recipe.toml").read_bytes() == (run / "recipe.toml").read_bytes()
    logs = [(where / "log.jsonl").read_text() for where in (run, tmp_path / "again")]
    bare = [re.sub(r'"time": \{.*?\}', "", log) for log in logs]
    assert bare[0] == bare[1]
    capsys.readouterr()


def test_a_recipe_of_ones_own_is_made_again_from_the_run(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "mlp-relu"\nname = "mine"\n')
    run = mulligan.train(mine, data="digits", steps=2, out=tmp_path / "run", overrides=TINY).directory
    words, tail = reproducing.command(facts.read(run)), ["--seed", "0", "--precision", "exact"]
    assert words == ["mulligan", "train", f"{run}/recipe.toml", "--data", "digits", *tail]
    assert "mine is not one of the package's recipes" in read(run / reporting.REPORT).text


def test_images_handed_over_cannot_be_named(tmp_path: Path) -> None:
    images = np.zeros((64, 1, 28, 28), dtype=np.uint8)
    data = data_room.Dataset("mine", images)
    run = mulligan.train("mlp-relu", data=data, steps=2, out=tmp_path / "run", overrides=TINY).directory
    assert "no command makes it again" in read(run / reporting.REPORT).text
    assert "of 64 training images" in read(run / reporting.REPORT).text
    assert "were handed over in Python" in read(reporting.report(run)).text


# Two runs, and many


def test_two_runs_side_by_side(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    changes = ("--set", "latent.size=9", "--set", "card.every=0")
    assert command("retry", run, "--from", 256, *changes, "--out", other, "--quiet") == 0
    out = tmp_path / "pair.html"
    assert command("compare", run, other, "--out", out) == 0
    assert "latent.size was" in capsys.readouterr().out
    page = read(out)
    assert "first and other" in page.text
    assert "latent.size was 100, is 9" in page.text
    assert f"other is a second shot of {run.name} at 0 images" in page.text
    assert str(run.parent) not in page.text.replace(f"mulligan resume {run}", "")
    names = [series["name"] for series in page.panels["Losses"]["series"]]
    assert names == ["first: D", "first: G", "other: D", "other: G"]
    assert len(json.loads(page.data)["frames"]) == 2
    assert command("compare", run, other, "--out", tmp_path / "pair.jpg") == 2
    assert "expected FILE.html or FILE.png" in capsys.readouterr().err


def test_an_arena_has_one_page(run: Path, tmp_path: Path) -> None:
    cell = tmp_path / "mlp-relu" / "seed-0" / "run"
    shutil.copytree(run, cell)
    Image.new("RGB", (40, 30)).save(tmp_path / "arena.png")
    table = [["recipe", "at", "seeds", "frechet"], ["mlp-relu", "512", "1/1", "3 ± <1"]]
    runs = [("mlp-relu", 0, cell), ("mlp-relu", 1, tmp_path / "nowhere")]
    page = read(reporting.contest(tmp_path, table, runs))
    assert "3 ± <1" in page.text
    panel = page.panels["Fréchet distance over seconds of training"]
    assert [series["name"] for series in panel["series"]] == ["mlp-relu, seed 0"]
    assert ("a", {"href": "mlp-relu/seed-0/run/report.html"}) in page.tags


def test_panels_of_a_kind_are_overlaid_in_two_colours() -> None:
    rows = [{"images": i, "d_loss": 1.0 + i, "g_loss": 1.0} for i in range(3)]
    (losses,) = pages.overlaid([("a", curves.panels(rows)), ("b", curves.panels(rows))])
    assert [(s.colour, s.dash) for s in losses.series] == [(0, 0), (0, 1), (1, 0), (1, 1)]
