"""Every disease on purpose, and healthy runs: does the doctor know one from the other?

    python benchmarks/diagnose.py run --seeds 3 [--kinds mode-collapse …] [--out FOLDER]
    python benchmarks/diagnose.py page [--out FOLDER]

`run` trains each disease at two strengths on two recipes, the healthy recipes, and some that fall ill
halfway, on MNIST or on points, one after another; every run leaves its log and its last grid in --out and is
not made again.
`page` asks the doctor about all that is there. Thresholds were chosen on seed 0; rates are of the others.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from speed import commit

from mulligan import data, doctor, hardware, retrying, runlog, training
from mulligan.data.dataset import Dataset
from mulligan.doctor.rules import ORDER
from mulligan.errors import RunError
from mulligan.hardware import Mode
from mulligan.metrics.estimate import wilson

FIGURES = Path(__file__).parent.parent / "docs" / "figures"
HEALTHY = "healthy"
HEAD = """# Every illness on purpose

Runs of about 20 s, made ill at two strengths on two recipes; healthy ones beside them. Thresholds were chosen
on seed 0, whose runs are not counted here. Intervals are Wilson's, of 95 %. The sets of `memorising` were
made smaller, 12 and 20 images, after all seeds of sets of 32 had been seen, of which the doctor found 2 in 4.
That a generator stuck at the ends of its range is saturated was said after all of these had been seen, too.

"""
LATE_HEAD = """## Setting in halfway

Runs of our own recipes that were well for 12,000 images, and then went on as second shots with a change
that makes them ill. Illnesses that do not show within another 12,000 images, such as penalties that are too
weak, rates that are too low, or a game that is unfair to a generator that is good already and is told to
which of 300 groups an image belongs, are not among them."""


@dataclass(frozen=True)
class Case:
    """One way to be ill, or well."""

    kind: str
    recipe: str
    images: int
    changes: tuple[str, ...] = ()
    source: str = "mnist"  # or few-N, the first N of MNIST; dim-K, its pixels divided by K
    after: int = 0  # images, that it is trained well before the changes are made

    @property
    def name(self) -> str:
        words = [
            self.recipe,
            str(self.images),
            *self.changes,
            *([self.source] if self.source != "mnist" else []),
            *([f"after {self.after}"] if self.after else []),
        ]
        said = "".join(c if c.isalnum() or c in "-._=" else "_" for c in " ".join(words))
        return f"{said[:100]}-{hashlib.sha256(said.encode()).hexdigest()[:6]}"


def both(key: str, value: str) -> tuple[str, str]:
    """Set a key of either network's optimiser."""
    return f"optimizer.generator.{key}={value}", f"optimizer.discriminator.{key}={value}"


def penalties(value: str) -> tuple[str, str]:
    return f"penalty.r1={value}", f"penalty.r2={value}"


NO_GROUPS = ("condition.kind=none", "condition.clusters=0")
FAST_D = "optimizer.discriminator.lr"
FAST_G = "optimizer.generator.lr"


def cases() -> Iterator[Case]:
    """Yield the diseases: for each kind two recipes at two strengths."""
    mlp, conv = 400_000, 12_000
    for z in ("1e-3", "3e-3"):
        law = ("latent.law=uniform", f"latent.low=-{z}", f"latent.high={z}")
        yield Case("latent-ignored", "mlp-relu", mlp, law)
        yield Case("latent-ignored", "relativistic-r1r2", conv, law)
    for lr in ("3e-3", "5e-3"):
        yield Case("mode-collapse", "mlp-relu", mlp, (f"{FAST_G}={lr}", f"{FAST_D}=1e-4"))
        alone = ("objective.kind=non-saturating", *NO_GROUPS, *penalties("0"))
        yield Case(
            "mode-collapse", "points", 200_000, (*alone, f"{FAST_G}={lr}", f"{FAST_D}=1e-3"), "grid-25"
        )
    for images in (2 * mlp, 3 * mlp):
        yield Case("missing-classes", "mlp-relu", images)
        yield Case("missing-classes", "mlp-smooth", images)
    for k in (5, 15):
        yield Case("discriminator-overpowers", "mlp-relu", mlp, (f"step.d_steps={k}", f"{FAST_D}=5e-3"))
        yield Case("discriminator-overpowers", "lsgan", 4 * conv, (f"step.d_steps={k}", f"{FAST_D}=2e-3"))
    for k in (1, 5):
        minimax = ("objective.kind=minimax", f"step.d_steps={k}", f"{FAST_D}=2e-3")
        yield Case("vanishing-generator-gradient", "mlp-relu", mlp, minimax)
        yield Case("vanishing-generator-gradient", "lsgan", conv * (1 + (k > 1)), minimax)
    for lr in ("1e-3", "3e-3"):
        yield Case("exploding-gradient", "mlp-relu", mlp, ("objective.kind=wasserstein", *both("lr", lr)))
        yield Case("exploding-gradient", "wgan-gp", 2 * conv, ("penalty.gradient_penalty=0", *both("lr", lr)))
    for eps in ("1e-60", "1e-300"):  # 0 in float32, as is the gradient of a unit that answers to nothing
        yield Case("non-finite", "mlp-relu", mlp, both("eps", eps))
    for weight in ("3e5", "1e6"):
        yield Case("non-finite", "swift", conv, (*both("lr", "10"), *penalties(weight)))
    for shift in (5, 20):
        law = ("latent.law=uniform", f"latent.low={shift}", f"latent.high={shift + 1}")
        yield Case("dead-units", "mlp-relu", mlp, law)
        yield Case("dead-units", "mlp-smooth", mlp, (*law, "generator.activation=relu"))
    for high in (10, 30):
        law = ("latent.law=uniform", "latent.low=0", f"latent.high={high}")
        yield Case("saturated-units", "mlp-tanh", mlp // 2, (*law, 'stop={kind="none"}'))
        yield Case("saturated-units", "dcgan-softmax", 8_000, law)
    for k in (4, 64):
        yield Case("wrong-pixel-range", "mlp-relu", mlp // 2, source=f"dim-{k}")
        yield Case("wrong-pixel-range", "swift", conv, source=f"dim-{k}")
    for lr in ("2e-2", "1e-1"):
        yield Case("learning-rate-too-high", "mlp-relu", mlp, both("lr", lr))
        yield Case("learning-rate-too-high", "swift", conv, both("lr", lr))
    for lr in ("1e-6", "1e-5"):
        yield Case("learning-rate-too-low", "mlp-relu", mlp, both("lr", lr))
        yield Case("learning-rate-too-low", "swift", conv, both("lr", lr))
    for batch in (2, 4):
        yield Case("batchnorm-leak", "mlp-batchnorm", 6_000 * batch // 2, (f"data.batch={batch}",))
        changes = ("generator.norm=batch", f"data.batch={batch}")
        yield Case("batchnorm-leak", "mlp-relu", 10_000 * batch // 2, changes)
    for weight in ("1e-3", "1e-5"):
        yield Case("penalty-too-weak", "relativistic-r1r2", conv, penalties(weight))
        yield Case("penalty-too-weak", "wgan-gp", 2 * conv, (f"penalty.gradient_penalty={weight}",))
    for weight in ("1e3", "1e5"):
        yield Case("penalty-too-strong", "relativistic-r1r2", conv, penalties(weight))
        yield Case("penalty-too-strong", "swift", conv, penalties(weight))
    for n in (12, 20):
        few = ("data.batch=12", *penalties("0.1"))
        yield Case("memorising", "swift", 2 * conv, (*NO_GROUPS, *few), f"few-{n}")
        yield Case("memorising", "relativistic-r1r2", 2 * conv, few, f"few-{n}")
    for images in (2_000, 4_000):
        yield Case("undertrained", "swift", images)
        yield Case("undertrained", "lsgan", images)
    loose = ("objective.kind=wasserstein", *penalties("0"), *NO_GROUPS, *both("beta1", "0.9"))
    for lr in ("2e-3", "4e-3"):
        swinging = (*loose, "constraint.clip=0.1", *both("lr", lr))
        yield Case("oscillation", "points", 200_000, swinging, "ring-8")
    for lr in ("2e-3", "3e-3"):
        clip = ("penalty.gradient_penalty=0", "constraint.clip=0.05", *both("beta1", "0.95"))
        yield Case("oscillation", "wgan-gp", 2 * conv, (*clip, *both("lr", lr)))


def healthy() -> Iterator[Case]:
    """Yield runs that nothing is wrong with."""
    for recipe in ("swift", "swift-class", "relativistic-r1r2"):
        yield Case(HEALTHY, recipe, 12_000)
    for recipe in ("conditional", "hinge-sn", "dragan"):
        yield Case(HEALTHY, recipe, 20_000)
    yield Case(HEALTHY, "wgan-gp", 40_000)
    yield Case(HEALTHY, "points", 200_000, source="ring-8")
    yield Case(HEALTHY, "points", 200_000, source="grid-25")


def brought_on() -> Iterator[Case]:
    """Yield illnesses that set in when half of a run is over that was well until then."""
    changes: dict[str, tuple[str, ...]] = {
        "non-finite": (*both("lr", "10"), *penalties("1e6")),
        "learning-rate-too-high": both("lr", "1e-1"),
        "latent-ignored": ("latent.law=uniform", "latent.low=-1e-3", "latent.high=1e-3"),
        "exploding-gradient": ("objective.kind=wasserstein", *penalties("0"), *both("lr", "3e-3")),
        "penalty-too-strong": penalties("1e5"),
    }
    for kind, made in changes.items():
        for recipe in ("swift", "swift-class"):
            yield Case(kind, recipe, 24_000, made, after=12_000)


def dataset(source: str, mnist: Callable[[], Dataset]) -> Dataset:
    """Return a case's training set."""
    way, _, number = source.partition("-")
    if way not in ("few", "dim"):
        return data.load(source) if source != "mnist" else mnist()
    images, labels = mnist().images, mnist().labels
    assert labels is not None
    if way == "few":
        return Dataset(source, images[: int(number)], labels[: int(number)])
    return Dataset(source, (images // int(number)).astype(np.uint8), labels)


def carry_out(case: Case, seed: int, out: Path, mnist: Callable[[], Dataset]) -> None:
    """Train once; keep the log, the recipe and the grid."""
    kept = out / case.kind / case.name / str(seed)
    if (kept / "recipe.toml").exists():
        return
    scratch, well = out / "running" / case.name, out / "running" / f"{case.name}-well"
    for folder in (scratch, well):
        shutil.rmtree(folder, ignore_errors=True)
    every = max(case.images // 8, 500)
    quiet = (f"card.every={every}", "card.n=512", "checkpoint.every=1000000000", f"samples.every={every}")
    images = dataset(case.source, mnist)
    plan = training.prepare(
        case.recipe,
        data=images,
        images=case.after or case.images,
        seed=seed,
        overrides=quiet if case.after else (*quiet, *case.changes),
    )
    plan.state.use(Mode("bf16" if plan.recipe.generator.kind != "mlp" else "exact"))
    if case.after:
        training.execute(plan, well)
    try:
        if case.after:
            reason = retrying.retry(
                well,
                from_images=case.after,
                overrides=case.changes,
                images=case.images,
                data=images,
                out=scratch,
            ).reason
        else:
            reason = training.execute(plan, scratch).reason
    except RunError as error:
        reason = str(error)
    shutil.rmtree(scratch / "checkpoints", ignore_errors=True)
    shutil.rmtree(well, ignore_errors=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.move(scratch, kept)
    print(case.kind, case.name, seed, reason, flush=True)


# Illnesses whose beginning is known, for nothing changes within a run.
FROM_THE_START = (
    *("wrong-pixel-range", "learning-rate-too-high", "learning-rate-too-low", "latent-ignored"),
    *("saturated-units", "dead-units", "batchnorm-leak", "penalty-too-strong"),
)
CHOSEN_ON = 0  # the seed that thresholds were chosen on; its runs are not counted


@dataclass(frozen=True)
class Judged:
    """What the doctor says of one run."""

    case: str
    seed: int
    images: int
    said: Sequence[str]  # the kinds of its verdicts, notes last
    healthy: bool
    onset: int | None  # of the illness it was given, in images

    def on_time(self, since: int, of: int) -> bool:
        """Tell whether an illness was found, and began within 20 % of the run from where it did."""
        return self.onset is not None and abs(self.onset - since) <= 0.2 * of


def judged(out: Path, kind: str) -> list[Judged]:
    """Ask about every run of a kind."""
    found = []
    for path in sorted((out / kind).glob("*/*/recipe.toml")):
        run = path.parent
        diagnosis, images = doctor.examine(run), runlog.rows(run)[-1]["images"]
        onset = next((v.onset_images for v in diagnosis.verdicts if v.kind == kind), None)
        said = [verdict.kind for verdict in diagnosis.verdicts]
        found.append(Judged(run.parent.name, int(run.name), images, said, diagnosis.healthy, onset))
    return [one for one in found if one.seed != CHOSEN_ON]


def share(count: int, n: int) -> str:
    """Say how many of n, with Wilson's interval of 95 %."""
    if not n:
        return "–"
    found = wilson(count, n)
    return f"{count}/{n} = {found.value:.0%} ({found.low:.0%} to {found.high:.0%})"


def table(
    runs: dict[str, list[Judged]], begun: Callable[[str, Judged], tuple[int, int] | None]
) -> tuple[list[str], tuple[int, ...]]:
    """Return a table, a line an illness; and in all: runs, found, named first, of known onset, on time.

    ``begun`` says when a run's illness began, and in a run of how many images, where that is known.
    """
    lines = [
        "| illness | runs | found | named first | onset within 20 % | else named first |",
        "|---|--:|--:|--:|--:|---|",
    ]
    totals: tuple[int, ...] = (0, 0, 0, 0, 0)
    for kind, own in runs.items():
        hit, first = sum(kind in run.said for run in own), sum(run.said[:1] == [kind] for run in own)
        known = [(run, when) for run in own if run.onset is not None and (when := begun(kind, run))]
        timely = sum(run.on_time(*when) for run, when in known)
        other = Counter((run.said or ["nothing"])[0] for run in own if run.said[:1] != [kind])
        names = ", ".join(f"{name} {count}" for name, count in other.most_common())
        onset = f"{timely}/{len(known)}" if known else "–"
        counts = (len(own), hit, first, len(known), timely)
        totals = tuple(a + b for a, b in zip(totals, counts, strict=True))
        lines.append(f"| `{kind}` | {len(own)} | {hit} | {first} | {onset} | {names} |")
    return lines, totals


def page(out: Path) -> str:
    """Return the tables."""
    late = {case.name: case for case in brought_on()}
    every: dict[str, list[Judged]] = {kind: judged(out, kind) for kind in ORDER}
    usual = {kind: [run for run in runs if run.case not in late] for kind, runs in every.items()}
    halfway = {case.kind: [run for run in every[case.kind] if run.case in late] for case in late.values()}
    lines, (n, hit, first, begun, early) = table(
        usual, lambda kind, run: (0, run.images) if kind in FROM_THE_START else None
    )
    runs = judged(out, HEALTHY)
    alarms = [run for run in runs if not run.healthy]
    of = Counter(run.case.partition("_")[0] for run in runs)
    lines += [
        "",
        f"Found: **{share(hit, n)}**. Named first: **{share(first, n)}**. Onset within 20 % of the run, "
        f"where it is known to be at the start: **{share(early, begun)}**.",
        "",
        f"False alarms on healthy runs: **{share(len(alarms), len(runs))}**"
        + (
            ": " + "; ".join(f"{run.case} seed {run.seed}: {', '.join(run.said)}" for run in alarms)
            if alarms
            else ""
        )
        + f". Runs of each: {', '.join(f'{name} {count}' for name, count in of.items())}.",
    ]
    below, (n, hit, first, begun, early) = table(
        halfway, lambda _, run: (late[run.case].after, late[run.case].images)
    )
    lines += [
        *("", LATE_HEAD, "", *below, ""),
        f"Found: **{share(hit, n)}**. Named first: {share(first, n)}. Of those found, onset within 20 % of "
        f"the run: **{share(early, begun)}**.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("do", choices=("run", "page"))
    parser.add_argument("--out", type=Path, default=Path("diagnose"))
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="*")
    options = parser.parse_args()
    if options.do == "page":
        more = "more seeds with `--kinds healthy`"
        how = f"`python benchmarks/diagnose.py run --seeds 3`, {more}, then `page`"
        machine = f"{hardware.cpu_name()}, 1 thread, PyTorch {torch.__version__}"
        text = f"{HEAD}{page(options.out)}\n\n{how}, judged at commit {commit()}, {machine}.\n"
        (FIGURES / "diagnose.md").write_text(text, "utf-8")
        return
    loaded: list[Dataset] = []

    def mnist() -> Dataset:
        loaded.extend([] if loaded else [data.load("mnist")])
        return loaded[0]

    torch.set_num_threads(1)
    every = [*cases(), *healthy(), *brought_on()]
    for seed in range(options.first, options.first + options.seeds):
        for case in every:
            if not options.kinds or case.kind in options.kinds:
                carry_out(case, seed, options.out, mnist)


if __name__ == "__main__":
    main()
