"""The parts of a run's page, each from what its directory holds."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mulligan import runlog
from mulligan.doctor import Verdict
from mulligan.reporting import reproducing
from mulligan.reporting.curves import Panel
from mulligan.reporting.embedding import Frame, embed_file
from mulligan.reporting.facts import SCORECARD, Facts
from mulligan.reporting.judging import NO_VALUE, Judgement
from mulligan.reporting.markup import Markup, join, rows, section, tag
from mulligan.scorecard import how_to_judge
from mulligan.scorecard.card import number

SHOWN_CLASSES = 40


def headline(facts: Facts, *, small: bool = False) -> Markup:
    """Say what was trained, for how long, and whether it is well; ``small`` beside another run."""
    meta, worst = facts.meta, facts.diagnosis.worst
    verdict = f"{_said(worst)}." if worst else "Nothing is wrong."
    grid = facts.run / runlog.GRID
    light = facts.light["card"] if facts.light else {}
    figures: list[tuple[str, object]] = [("images seen", f"{meta.images:,}"), ("time", _time(meta.seconds))]
    if isinstance(light.get("frechet"), int | float):
        figures.append(("Fréchet distance", number(light["frechet"])))
    if isinstance(light.get("modes"), int | float):
        figures.append(("modes", f"{light['modes']:g}"))
    words = tag(
        "div",
        tag("p", None if small else "Mulligan · ", tag("b", facts.name), class_="over"),
        tag("h2" if small else "h1", f"{facts.recipe.name} on {short(meta.data.name)}"),
        tag("p", facts.recipe.title, class_="quiet") if facts.recipe.title else None,
        tag("p", verdict, class_=f"verdict-line {worst.severity if worst else 'well'}"),
        _standing(facts),
        rows(figures),
    )
    if small:
        return words
    picture = None
    if grid.is_file():
        alt = "Samples of the last checkpoint: always the same latents"
        picture = tag("img", src=embed_file(grid), alt=alt, class_="hero")
    return tag("header", words, picture)


def _standing(facts: Facts) -> Markup | None:
    """Say of a run that has not come to its end where it stands."""
    budget = facts.recipe.budget
    of = f"{facts.meta.images:,} of {budget.images:,} images"
    if facts.running:
        return tag(
            "p", f"Still in progress: this is how it stood at its last checkpoint, {of}.", class_="standing"
        )
    if facts.meta.stopped:
        return tag("p", f"Ended by its stop rule: {facts.meta.stopped}.", class_="quiet")
    if not facts.spent:
        again = _typed(["mulligan", "resume", str(facts.run)])
        return tag("p", f"Ended early, after {of}. ", again, " goes on.", class_="standing")
    return None


def verdicts(facts: Facts) -> Markup:
    """Show what the doctor found, and what to do about it."""
    found = facts.diagnosis.verdicts
    if not found:
        said = "The doctor has looked at the log and found nothing wrong."
        return section("verdicts", "Nothing is wrong", tag("p", said))
    title = "Verdicts" if not facts.diagnosis.healthy else "Nothing is wrong, but worth knowing"
    return section("verdicts", title, *(_verdict(facts, verdict) for verdict in found))


def _verdict(facts: Facts, verdict: Verdict) -> Markup:
    shown = [
        tag("img", src=src, alt=alt, class_="evidence")
        for name, alt in zip(verdict.evidence.pictures, _alts(verdict), strict=False)
        if (src := _picture(facts, name))
    ]
    advice = [
        tag(
            "li",
            *(tag("code", f"--set {change}") for change in changes),
            tag("p", why, " ", tag("cite", source) if source else None),
        )
        for changes, why, source in verdict.by_reason
    ]
    return tag(
        "article",
        tag("h3", _kind(verdict), " ", tag("span", verdict.severity, class_="badge")),
        tag("p", f"From {verdict.onset_images:,} images on: ", verdict.evidence.text, "."),
        tag("div", *shown, class_="evidences") if shown else None,
        tag("p", tag("b", "Why. "), verdict.cause),
        tag("ul", *advice, class_="advice") if advice else None,
        _command(reproducing.retry(facts, verdict.changes)) if verdict.changes else None,
        class_=f"verdict {verdict.severity}",
    )


def _alts(verdict: Verdict) -> Sequence[str]:
    disease = f"Samples with it: {_kind(verdict).lower()}"
    return ("Samples before", disease) if len(verdict.evidence.pictures) > 1 else (disease,)


def _picture(facts: Facts, name: str) -> str | None:
    """Embed a picture of the run directory; nothing from elsewhere, and nothing that is not there."""
    path = facts.run / name
    inside = path.resolve().is_relative_to(facts.run.resolve())
    return embed_file(path, 320) if inside and path.is_file() else None


def scorecard(judgement: Judgement | None, facts: Facts) -> Markup:
    """Show each metric beside what real images score in its place."""
    more = _how_to_judge(facts)
    if judgement is None:
        return section("scorecard", "Scorecard", tag("p", "This run has no scorecard yet."), more)
    heads = (("", ""), ("value", ""), ("95 % interval", "interval"), ("real images", ""), ("", ""))
    head = tag("tr", *(tag("th", name, scope="col", class_=kind or None) for name, kind in heads))
    body = [
        tag(
            "tr",
            tag("th", row.name, scope="row"),
            tag("td", row.value, tag("small", row.interval) if row.interval != NO_VALUE else None),
            tag("td", row.interval, class_="interval"),
            tag("td", row.floor),
            tag("td", row.rating, class_=f"rating {row.rating}"),
        )
        for row in judgement.rows
    ]
    notes = [tag("li", note) for note in judgement.notes]
    return section(
        "scorecard",
        "Scorecard",
        tag("p", judgement.about),
        tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="wide", tabindex=0),
        tag("ul", *notes) if notes else None,
        None if judgement.full else more,
    )


def _how_to_judge(facts: Facts) -> Markup | None:
    """Say what puts the full card on the page; None where nothing judges such images."""
    run = str(facts.run)
    commands = [shlex.split(line) for line in how_to_judge(facts.meta.data, shlex.quote(run))]
    if not commands:
        return None
    commands[-1] += ["--json", f"{run}/{SCORECARD}"]
    typed = [_typed(words) for words in (*commands, ["mulligan", "report", run])]
    listed = [join(", then " if i else None, command) for i, command in enumerate(typed)]
    return tag("p", *listed, " put the full card here.", class_="quiet")


def classes(judgement: Judgement | None, facts: Facts) -> Markup:
    """Show how often each class occurs, beside how often it should."""
    title = "Classes"
    if judgement is None or not judgement.counts:
        points = facts.recipe.generator.output == "linear"
        said = "What judges this run can compare images, but does not name classes."
        said = "Points in a plane have modes rather than classes." if points else said
        return section(
            "classes",
            title,
            tag(
                "p",
                said if judgement else "No classifier has looked at this run's images yet.",
                class_="quiet",
            ),
        )
    counts, names = judgement.counts, judgement.names
    shares = judgement.shares if len(judgement.shares) == len(counts) else ()
    total = max(1, sum(counts))
    missing = {i for i in judgement.missing if 0 <= i < len(counts)}
    said = f"{total:,} samples, as the evaluator sees them"
    said += ". The line marks the share among real images. " if shares else ". "
    said += (
        f"Missing: {', '.join(names[i] for i in sorted(missing)[:10])}."
        if missing
        else "No class is missing."
    )
    if len(counts) > SHOWN_CLASSES:
        return section("classes", title, tag("p", f"{len(counts):,} classes. {said}"))
    most = max([count / total for count in counts] + list(shares)) or 1.0
    bars = [
        tag(
            "li",
            tag("span", names[i], class_="name"),
            tag(
                "span",
                tag("span", class_="bar", style=f"width:{100 * count / total / most:.2f}%"),
                tag("span", class_="real", style=f"left:{100 * shares[i] / most:.2f}%") if shares else None,
                class_="track",
            ),
            tag(
                "span", f"{count / total:.1%}", tag("b", " missing") if i in missing else None, class_="share"
            ),
            class_="missing" if i in missing else None,
        )
        for i, count in enumerate(counts)
    ]
    return section("classes", title, tag("p", said), tag("ol", *bars, class_="histogram"))


def curves(found: Sequence[Panel]) -> Markup:
    """Leave room for the curves, which the page's script draws."""
    if not found:
        return section("curves", "Curves", tag("p", "Nothing has been logged yet.", class_="quiet"))
    said = (
        "Over images seen. Point, touch, or focus a figure and use the arrow keys to read values; "
        "the names below a figure show and hide its curves."
    )
    parts: list[Markup] = [tag("p", said, class_="quiet")]
    for group in dict.fromkeys(panel.group for panel in found):
        own = [i for i, panel in enumerate(found) if panel.group == group]
        charts = (
            tag("figure", tag("figcaption", tag("span", found[i].title)), class_="chart", data_panel=i)
            for i in own
        )
        parts += [tag("h3", group), tag("div", *charts, class_="charts")]
    script = tag("noscript", tag("p", "The curves are drawn by a script in this page, and scripts are off."))
    return section("curves", "Curves", *parts, script)


def samples(found: Sequence[Frame], number_of: int = 0) -> Markup:
    """Make a slider through pictures, the page's so-many-th; its script has them all."""
    if not found:
        return tag("p", "No picture has been drawn yet.", class_="quiet")
    last = found[-1]
    name = f"slider-{number_of}"
    picture = tag(
        "img",
        src=last["src"],
        alt=f"Samples after {last['images']:,} images",
        class_="frame",
        id=f"{name}-picture",
    )
    if len(found) == 1:
        return tag("div", picture, tag("p", f"One picture, after {last['images']:,} images.", class_="quiet"))
    control = tag(
        "div",
        tag("label", "Images seen", for_=name),
        tag("input", type="range", id=name, min=0, max=len(found) - 1, value=len(found) - 1, step=1),
        tag("output", f"{last['images']:,}", for_=name, id=f"{name}-images"),
        class_="control",
    )
    return tag("div", picture, control, class_="slider", data_slider=number_of)


def recipe(facts: Facts) -> Markup:
    """Show the recipe, where the run comes from, and how to make it again."""
    changed = reproducing.changes(facts.recipe)
    if changed is None:
        said: object = f"{facts.recipe.name} is not one of the package's recipes."
    elif changed:
        said = join(
            f"Against the package's {facts.recipe.name}:",
            tag("ul", *(tag("li", tag("code", one)) for one in changed)),
        )
    else:
        said = f"The package's {facts.recipe.name}, unchanged but for the budget."
    text = (facts.run / runlog.RECIPE).read_text("utf-8", "replace")
    return section(
        "recipe",
        "Recipe",
        tag("p", said) if not isinstance(said, Markup) else said,
        _lineage(facts),
        tag("details", tag("summary", "Every key"), tag("pre", *(_whole(text)))),
        tag("h3", "Make it again"),
        _again(facts),
        tag("h3", "Where it was computed"),
        rows(_environment(facts)),
    )


def _whole(text: str) -> list[str]:
    """Return a long text in pieces that are each short enough to be shown, up to a limit."""
    return [text[i : i + 2000] for i in range(0, min(len(text), 100_000), 2000)]


def _lineage(facts: Facts) -> Markup | None:
    if not facts.parent:
        return None
    before = facts.parent.run.replace("\\", "/").rstrip("/").rpartition("/")[2]
    changed = tag("ul", *(tag("li", tag("code", change)) for change in facts.parent.changes))
    return join(
        tag("h3", "A second shot"),
        tag("p", "Of ", tag("b", before), f", from {facts.parent.images:,} images on, with:"),
        changed,
    )


def _again(facts: Facts) -> Markup:
    words = reproducing.command(facts)
    if words is None:
        said = "It was trained on images that a program handed over, so that no command makes it again."
        return tag("p", said, class_="quiet")
    said = "On the same machine, computed in the same way, the same bits come out."
    return join(_command(words), tag("p", said, class_="quiet"))


def _command(words: list[str]) -> Markup:
    return tag("pre", _typed(words), class_="command")


def _typed(words: list[str]) -> Markup:
    """Write a command as a shell takes it, in pieces that a narrow screen does not break within."""
    pieces = (join(" " if i else None, tag("span", shlex.quote(word))) for i, word in enumerate(words))
    return tag("code", *pieces)


def _environment(facts: Facts) -> list[tuple[str, object]]:
    """List what the run's record says of machine and data; where files lay is nobody's affair."""
    about, shape = facts.meta.data, "×".join(map(str, facts.meta.data.image_shape))
    mode = facts.environment
    found: list[tuple[str, object]] = [
        ("data", f"{about.name}: {about.images:,} of {shape}, sha256 {about.sha256[:16]}…"),
        ("seed", str(facts.meta.seed)),
        ("computed in", str(facts.meta.mode)),
    ]
    for name in (
        "device",
        "gpu",
        "cpu",
        "cores",
        "threads",
        "processes",
        "platform",
        "mulligan",
        "python",
        "torch",
    ):
        if isinstance(mode.get(name), str | int | float):
            found.append((name, mode[name]))
    packages = mode.get("packages")
    if isinstance(packages, Mapping):
        found.append(
            ("packages", ", ".join(f"{name} {version}" for name, version in list(packages.items())[:20]))
        )
    return found


def marks(facts: Facts) -> list[dict[str, Any]]:
    """Return the moments at which something went wrong, for the curves."""
    return [
        {"x": verdict.onset_images, "name": _kind(verdict), "severity": verdict.severity}
        for verdict in facts.diagnosis.verdicts
    ]


def short(name: str) -> str:
    """Return a set's name, or the last part of its path."""
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2] or name


def _said(verdict: Verdict) -> str:
    return f"{_kind(verdict)}, from {verdict.onset_images:,} images on: {verdict.evidence.text.rstrip('.')}"


def _kind(verdict: Verdict) -> str:
    words = verdict.kind.replace("-", " ")
    return words[:1].upper() + words[1:]


def _time(seconds: float) -> str:
    """Say how long something took."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
