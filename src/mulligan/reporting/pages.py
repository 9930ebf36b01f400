"""Pages put together: a run, two runs side by side, a contest of many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mulligan import recipe as recipes
from mulligan import runlog
from mulligan.data.dataset import Dataset
from mulligan.errors import UserError
from mulligan.model import load
from mulligan.reporting import curves, drawn, embedding, judging, sections
from mulligan.reporting.curves import Panel, Series
from mulligan.reporting.embedding import Frame, embed_file, spread
from mulligan.reporting.facts import Facts
from mulligan.reporting.markup import Markup, join, page, section, tag
from mulligan.runlog import Row, finite

LIMIT = 5_000_000  # bytes
FRAMES = (40, 20, 8, 2)  # sample pictures: the first number with which a page is no larger


def of_run(facts: Facts, training: Dataset | str, *, quick: bool = False) -> bytes:
    """Make the page of a run.

    Args:
        training: What it was trained on, or a line that says why that is not here.
        quick: Leave out what takes more than a moment.

    Raises:
        UserError: a part of the run is damaged.
    """
    model = load(facts.run)
    dataset = training if isinstance(training, Dataset) else None
    judgement = judging.judge(facts, dataset)
    found = curves.panels(facts.rows)
    before = join(
        sections.headline(facts),
        sections.verdicts(facts),
        sections.scorecard(judgement, facts),
        sections.curves(found),
    )
    after = [sections.classes(judgement, facts)]
    if model.makes_points:
        after += [drawn.plane(model, dataset)]
    else:
        after += [drawn.walk(model), drawn.neighbours(model, training, quick=quick)]
    after += [sections.recipe(facts), _footer()]
    marks = sections.marks(facts)

    def with_frames(frames: Sequence[Sequence[Frame]]) -> bytes:
        slider = section("samples", "Samples over time", sections.samples(frames[0]))
        return page(f"{facts.name} · Mulligan", join(before, slider, *after), _data(found, marks, frames))

    return _small_enough(with_frames, [embedding.frames(facts.run, FRAMES[0])])


def of_pair(a: Facts, b: Facts) -> bytes:
    """Make a page with two runs side by side.

    Raises:
        UserError: a part of one is damaged.
    """
    pair = (a, b)
    labels = (a.name, b.name) if a.name != b.name else (f"{a.name} (first)", f"{b.name} (second)")
    found = overlaid([(label, curves.panels(facts.rows)) for label, facts in zip(labels, pair, strict=True)])
    changed = recipes.differences(a.recipe, b.recipe)
    lineage = [
        tag(
            "li",
            f"{label} is a second shot of {sections.short(of.parent.run)} at {of.parent.images:,} images",
        )
        for label, of in zip(labels, pair, strict=True)
        if of.parent
    ]
    changes = tag("ul", *(tag("li", tag("code", change)) for change in changed))
    before = join(
        tag("p", "Mulligan · two runs", class_="over"),
        tag("h1", f"{labels[0]} and {labels[1]}"),
        tag(
            "div", *(tag("div", sections.headline(facts, small=True)) for facts in pair), class_="pair sides"
        ),
        section(
            "changes",
            "What was changed",
            tag("ul", *lineage) if lineage else None,
            changes if changed else tag("p", "Their recipes are the same."),
        ),
        sections.curves(found),
    )
    marks = [
        {**mark, "name": f"{label}: {mark['name']}"}
        for label, facts in zip(labels, pair, strict=True)
        for mark in sections.marks(facts)
    ]

    def with_frames(frames: Sequence[Sequence[Frame]]) -> bytes:
        figures = (
            tag("figure", tag("h3", label), sections.samples(some, i))
            for i, (label, some) in enumerate(zip(labels, frames, strict=True))
        )
        sliders = section("samples", "Samples over time", tag("div", *figures, class_="pair"))
        title = f"{labels[0]} and {labels[1]} · Mulligan"
        return page(title, join(before, sliders, _footer()), _data(found, marks, frames))

    return _small_enough(with_frames, [embedding.frames(facts.run, FRAMES[1]) for facts in pair])


def of_contest(out: Path, table: Sequence[Sequence[str]], runs: Sequence[tuple[str, int, Path]]) -> bytes:
    """Make the page of an arena.

    Args:
        out: Its directory.
        table: Its results, with a row of headings.
        runs: Recipe, seed and directory of each run.

    Raises:
        UserError: the figure is damaged.
    """
    found = [
        _race("seconds of training", _seconds, runs),
        _race("images seen", lambda row: row["images"], runs),
    ]
    found = [panel for panel in found if panel.series]
    figure = out / "arena.png"
    names = list(dict.fromkeys(name for name, _, _ in runs))
    body = join(
        tag("p", "Mulligan · arena", class_="over"),
        tag("h1", ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")),
        section(
            "results",
            "Results",
            tag("p", "The mean over seeds, and half its 95 % interval."),
            tag("div", _table(table), class_="wide", tabindex=0),
        ),
        section(
            "figure",
            "Figure",
            tag("img", src=embed_file(figure, 1400), alt="Fréchet distance over time", class_="smooth"),
        )
        if figure.is_file()
        else None,
        sections.curves(found),
        section("grids", "What they draw", tag("div", *_grids(names, runs), class_="charts")),
        section("runs", "Each run", tag("ul", *(_link(out, *run) for run in runs))),
        _footer(),
    )
    return page(f"{', '.join(names[:4])} · Mulligan", body, _data(found, [], []))


def overlaid(found: Sequence[tuple[str, Sequence[Panel]]]) -> list[Panel]:
    """Lay the panels of several runs over one another: a colour for each run, a stroke for each curve.

    Four strokes tell four curves apart; a run that has more of them has another colour too.
    """
    groups = {panel.title: panel.group for _, panels in found for panel in panels}
    laid = []
    for group in dict.fromkeys(groups.values()):
        for title in (title for title, of in groups.items() if of == group):
            every: list[Series] = []
            floors = []
            for i, (label, panels) in enumerate(found):
                for panel in panels:
                    if panel.title != title:
                        continue
                    floors += [] if panel.floor is None else [panel.floor]
                    for j, one in enumerate(panel.series):
                        name = label if len(panel.series) == 1 else f"{label}: {one.name}"
                        colour, dash = (i + len(found) * (j // 4)) % 8, j % 4
                        every.append(Series(name, one.x, one.y, one.low, one.high, colour, dash))
            laid.append(Panel(title, group, every, min(floors, default=None)))
    return laid


def _seconds(row: Row) -> object:
    time = row.get("time")
    return time.get("seconds") if isinstance(time, dict) else None


def _race(unit: str, place: Callable[[Row], object], runs: Iterable[tuple[str, int, Path]]) -> Panel:
    """Draw the Fréchet distance of every run's light cards over time or images."""
    every: list[Series] = []
    colours: dict[str, int] = {}
    floors = []
    for name, seed, run in runs:
        try:
            cards = runlog.cards(runlog.rows_so_far(run))
        except UserError:
            continue
        placed = [(finite(place(row)), row["card"]) for row in cards]
        known = [(x, card) for x, card in placed if x is not None]
        colour = colours.setdefault(name, len(colours)) % 8
        y = [finite(card.get("frechet")) for _, card in known]
        every.append(Series(f"{name}, seed {seed}", [x for x, _ in known], y, colour=colour, dash=seed % 4))
        floors += [floor for _, card in known if (floor := finite(card.get("frechet_floor")))]
    drawn_ones = [one for one in every if one.drawn][: curves.IN_A_PANEL]
    return Panel(
        f"Fréchet distance over {unit}", "Light scorecards", drawn_ones, min(floors, default=None), unit
    )


def _grids(names: Sequence[str], runs: Sequence[tuple[str, int, Path]]) -> list[Markup]:
    """Show the last grid of each recipe's first run."""
    shown = []
    for name in names[:12]:
        seed, run = next((seed, run) for of, seed, run in runs if of == name)
        if (run / runlog.GRID).is_file():
            picture = tag("img", src=embed_file(run / runlog.GRID), alt=f"Samples of {name}", class_="frame")
            shown.append(tag("figure", picture, tag("figcaption", f"{name}, seed {seed}")))
    return shown


def _link(out: Path, name: str, seed: int, run: Path) -> Markup:
    text = f"{name}, seed {seed}"
    if not (run / "report.html").is_file() or not run.is_relative_to(out):
        return tag("li", text)
    return tag("li", tag("a", text, href=quote(f"{run.relative_to(out).as_posix()}/report.html")))


def _table(table: Sequence[Sequence[str]]) -> Markup:
    head = tag("tr", *(tag("th", cell, scope="col") for cell in table[0]))
    body = (
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in table[1:]
    )
    return tag("table", tag("thead", head), tag("tbody", *body))


def _small_enough(made: Callable[[Sequence[Sequence[Frame]]], bytes], frames: list[list[Frame]]) -> bytes:
    """Make a page with as many pictures in its sliders as its size allows."""
    for most in FRAMES:
        written = made([[some[i] for i in spread(len(some), most)] for some in frames])
        if len(written) <= LIMIT:
            break
    return written


def _footer() -> Markup:
    said = "Written by Mulligan. This one file is all there is to it: it asks for nothing from anywhere."
    return tag("footer", said)


def _data(found: Sequence[Panel], marks: list[dict[str, Any]], frames: Sequence[Any]) -> dict[str, Any]:
    most = curves.points(found)
    return {"panels": [panel.plain(most) for panel in found], "marks": marks, "frames": frames}
