"""Train the small GANs that docs/theory.md is about, draw its pictures and print its numbers.

    python scripts/make_theory_figures.py [--out docs/pictures] [--only NAME ...] [--runs DIR] [--quick]

Wants the real MNIST and the extra `plot`: pip install 'mulligan[plot]'. `--quick` makes every picture from
a few updates on the bundled digits, to try the script and not to be looked at.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

os.environ.setdefault("MULLIGAN_COMPILE", "0")  # the same bits, whatever this machine can compile

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

import mulligan
from mulligan import build, data, pictures, recipe, runlog, step, training
from mulligan.data import synthetic
from mulligan.data.dataset import Dataset
from mulligan.state import State, begin

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]

SEED = 0
BLUE, ORANGE, GREEN, GREY = "#1f77b4", "#e8710a", "#2a9d4a", "#777777"
MIXTURE = ((0.3, -1.2, 0.35), (0.7, 0.8, 0.35))  # share, mean and standard deviation
RING_WIDTH = 0.15  # wide enough to be seen in a heat map; that of `ring-8` is 0.01
MNIST_RUNS = {  # images and cards of each run of sections 3 and 6
    "mlp-relu": (1_500_000, 10),
    "lsgan": (30_000, 6),
    "hinge-sn": (30_000, 6),
    "wgan-gp": (30_000, 6),
    "relativistic-r1r2": (30_000, 6),
    "swift": (30_000, 6),
    "mlp-batchnorm": (100_000, 6),
}
CALM, RESTLESS = "mlp-batchnorm", "mlp-relu"  # section 6
TUTORIALS = ("mlp-relu", "mlp-tanh", "dcgan-softmax", "mlp-batchnorm", "mlp-smooth")
FORMULAS = {
    "non-saturating": ("−log D(x) − log(1 − D(G(z)))", "−log D(G(z))"),
    "minimax": ("the same", "log(1 − D(G(z)))"),
    "softmax": ("the same, of two classes", "−log D(G(z))"),
    "least-squares": ("½(lᵣ − 1)² + ½l_f²", "½(l_f − 1)²"),
    "hinge": ("max(0, 1 − lᵣ) + max(0, 1 + l_f)", "−l_f"),
    "wasserstein": ("−lᵣ + l_f", "−l_f"),
    "relativistic-paired": ("−log σ(lᵣ − l_f)", "−log σ(l_f − lᵣ)"),
    "relativistic-average": (
        "−log σ(lᵣ − mean l_f) − log σ(mean lᵣ − l_f)",
        "the same, lᵣ and l_f exchanged",
    ),
}


@dataclass(frozen=True)
class Task:
    """Where pictures and runs go, and whether this is only a try."""

    out: Path
    runs: Path
    quick: bool

    @cached_property
    def digits(self) -> Dataset:
        """MNIST, or where the script is only tried the digits in the package."""
        return data.load("digits" if self.quick else "mnist", default_size=28)

    def of(self, full: int, quick: int) -> int:
        """A size: ``full``, or ``quick`` where the script is only tried."""
        return quick if self.quick else full

    def save(self, figure: Figure, name: str) -> None:
        """Write a figure in 256 colours, which takes a third of the space."""
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=self.of(100, 40))
        plt.close(figure)
        few = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(self.out / f"theory-{name}.png", optimize=True)


# Toys: distributions in the plane ----------------------------------------------------------------


def toy(points: Dataset, g_rate: float, d_steps: int = 5) -> State:
    """Begin a plain GAN on points: two perceptrons, no penalty, no average, no conditions."""
    adam = {"beta1": 0.5, "beta2": 0.999}
    tables: dict[str, Any] = {
        "name": "toy",
        "latent": {"size": 4},
        "data": {"batch": 256},
        "generator": {"kind": "mlp", "hidden": [64, 64], "activation": "leaky-relu", "output": "linear"},
        "discriminator": {"kind": "mlp", "hidden": [64, 64], "activation": "leaky-relu"},
        "objective": {"kind": "non-saturating"},
        "step": {"d_steps": d_steps},
        "optimizer": {"generator": {"lr": g_rate, **adam}, "discriminator": {"lr": 1e-3, **adam}},
        "budget": {"images": 1_000_000},
    }
    return begin(recipe.from_dict(tables), points, seed=SEED)


def line_points(n: int) -> Dataset:
    """Draw the 1-D mixture, on the line of the plane where the second coordinate is 0."""
    rng = np.random.default_rng(SEED)
    shares, means, widths = (np.array(column) for column in zip(*MIXTURE, strict=True))
    mode = rng.choice(len(shares), size=n, p=shares)
    points: Any = np.zeros((n, 2, 1, 1), np.float32)  # as floats: points in a plane are no pixels
    points[:, 0, 0, 0] = means[mode] + widths[mode] * rng.standard_normal(n)
    return Dataset("line", points)


def ring_points(n: int) -> Dataset:
    """Draw eight Gaussians, evenly on the unit circle."""
    centres = synthetic.PLANES["ring-8"].centres
    rng = np.random.default_rng(SEED)
    points = centres[rng.integers(len(centres), size=n)] + RING_WIDTH * rng.standard_normal((n, 2))
    floats: Any = points.astype(np.float32)[:, :, None, None]
    return Dataset("wide ring", floats)


def keep_on_the_line(state: State) -> State:
    """Set the weights of the second coordinate to 0: G writes 0 there, and D does not look.

    Their gradients are then 0 too, since the second coordinate of reals and fakes is: they stay.
    """
    into = next(layer for layer in state.gan.discriminator.modules() if isinstance(layer, nn.Linear))
    *_, out_of = (layer for layer in state.gan.generator.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        into.weight[:, 1] = 0
        out_of.weight[1] = 0
        out_of.bias[1] = 0
    return state


@torch.no_grad()
def fakes(state: State, n: int) -> Tensor:
    """Draw n fakes of the generator as it is; training's own random numbers are left alone."""
    z = build.latents(state.recipe.latent, n, torch.Generator().manual_seed(SEED), torch.float32)
    return step.generate(state.gan, z, None)


@torch.no_grad()
def belief(state: State, points: Floats) -> Floats:
    """D(x) at points ``[n, 2]``."""
    logits = step.judge(state.gan, torch.from_numpy(points.astype(np.float32))[:, :, None, None], None)
    assert state.gan.objective.probability is not None
    return state.gan.objective.probability(logits).double().numpy()


@torch.no_grad()
def value(state: State, reals: Tensor, n: int) -> float:
    """V(D, G), as means over n reals and n fakes: minus D's loss."""
    gan = state.gan
    terms = gan.objective.d(step.judge(gan, reals[:n], None), step.judge(gan, fakes(state, n), None))
    return -float(terms[0].mean() + terms[1].mean())


@dataclass(frozen=True)
class Ratio:
    """Shares of reals and of fakes in each cell, and p_data / (p_data + p_g) where cells are not rare."""

    real: Floats
    fake: Floats

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Where enough points fall: a ten-thousandth of all of them, on average of reals and fakes."""
        return self.real + self.fake > 2e-4

    @property
    def best(self) -> Floats:
        """The optimal discriminator; NaN where hardly a point falls."""
        both = np.where(self.known, self.real + self.fake, np.nan)
        return self.real / both

    def distance(self, answers: Floats) -> float:
        """Mean of |answers − best|, each cell by its mass."""
        mass = np.where(self.known, self.real + self.fake, 0)
        gap = np.where(self.known, np.abs(answers - self.best), 0)
        return float((mass * gap).sum() / mass.sum())

    @property
    def ceiling(self) -> float:
        """The most that any D can make of V: its value at the best one, 2·JSD − 2 log 2."""
        with np.errstate(divide="ignore", invalid="ignore"):
            both = self.real + self.fake
            terms = [np.where(p > 0, p * np.log(p / both), 0) for p in (self.real, self.fake)]
        return float(sum(term.sum() for term in terms))


def along(state: State, edges: Floats, n: int) -> Ratio:
    """Compare reals and fakes along the line."""
    real, fake = state.stream.images[:n, 0, 0, 0], fakes(state, n)[:, 0, 0, 0]
    return Ratio(*(np.histogram(x.numpy(), edges)[0] / n for x in (real, fake)))


def over(state: State, edges: Floats, n: int) -> Ratio:
    """Compare reals and fakes over the plane."""
    both = (state.stream.images[:n, :, 0, 0], fakes(state, n)[:, :, 0, 0])
    return Ratio(*(np.histogramdd(x.numpy(), bins=(edges, edges))[0] / n for x in both))


def middles(edges: Floats) -> Floats:
    return (edges[1:] + edges[:-1]) / 2


def advance_to(state: State, steps: int) -> None:
    while state.steps < steps:
        state.advance()


# The sections' figures ---------------------------------------------------------------------------


def finish(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)


def turns(task: Task) -> None:
    """Section 1: V while D alone moves, then G alone, in turns, from the first weights on."""
    n, edges = task.of(20_000, 500), np.linspace(-4, 4, 121)
    lengths = (2, 1) if task.quick else (45, 15)
    state = keep_on_the_line(toy(line_points(n), g_rate=3e-4))
    gan = replace(state.gan, objective=build.OBJECTIVES["minimax"]())
    stream, knobs = state.stream, step.Knobs()
    values, ceilings = [value(state, stream.images, n)], [along(state, edges, n).ceiling]
    figure, axes = plt.subplots(figsize=(7.6, 3.8), layout="constrained")
    for turn in range(10):
        who, colour = (("D", BLUE), ("G", ORANGE))[turn % 2]
        begun = len(values) - 1
        for _ in range(lengths[turn % 2]):
            real, y = stream.reals()
            fake = step.generate(gan, stream.latents(len(real)), y)
            if who == "D":
                moved = step.discriminator_turn(gan, real, fake.detach(), y, stream, knobs)
                step.move_discriminator(gan, moved)
            else:
                step.move_generator(gan, step.generator_turn(gan, real, fake, y, stream, knobs))
            values.append(value(state, stream.images, n))
            ceilings.append(along(state, edges, n).ceiling)
        label = f"V while only {who} moves" if turn < 2 else None
        axes.plot(range(begun, len(values)), values[begun:], color=colour, lw=2, label=label)
        print(f"turn of {who}: V {values[begun]:.3f} → {values[-1]:.3f}, at most {ceilings[-1]:.3f}")
    axes.plot(ceilings, color=GREY, lw=1.2, ls="--", label="the most that any D can make of V")
    axes.axhline(-2 * np.log(2), color=GREEN, lw=1.2, ls=":", label="−2 log 2, V at the equilibrium")
    finish(axes, "updates of one network", "V(D, G)")
    figure.legend(loc="outside upper center", fontsize=9, frameon=False, ncols=2)
    task.save(figure, "turns")


def optimal_1d(task: Task) -> None:
    """Section 2: D on the line beside the ratio of two histograms."""
    n, alone, edges = task.of(200_000, 500), task.of(1000, 1), np.linspace(-3, 3, 61)
    state = keep_on_the_line(toy(line_points(n), g_rate=1e-3))
    x, width = middles(edges), edges[1] - edges[0]
    where = np.stack([x, np.zeros_like(x)], axis=1)
    figure, columns = plt.subplots(2, 4, figsize=(10, 4.8), sharex=True, sharey="row", layout="constrained")
    moments = (0, 1, 2, 3) if task.quick else (30, 100, 300, 3000)
    for (above, below), moment in zip(columns.T, moments, strict=True):
        advance_to(state, moment)
        ratio, answers = along(state, edges, n), belief(state, where)
        later = left_alone(state, alone, where)
        above.stairs(ratio.real / width, edges, color=BLUE, fill=True, alpha=0.4, label="data")
        above.stairs(ratio.fake / width, edges, color=ORANGE, fill=True, alpha=0.4, label="G's samples")
        above.set_title(f"after {moment:,} updates of G", fontsize=10)
        below.plot(x, ratio.best, "o", ms=4, color=GREEN, label="p_data / (p_data + p_g)")
        below.plot(x, answers, color="black", lw=1.6, label="D(x) in the run")
        below.plot(
            x, later, color="black", lw=1.2, ls="--", label=f"D(x) after {alone:,} updates more, G at rest"
        )
        below.axhline(0.5, color=GREY, lw=0.8, ls=":")
        below.set_ylim(-0.03, 1.03)
        finish(above, "", "")
        finish(below, "x", "")
        report("line", moment, ratio, answers, later)
    columns[0, 0].set_ylabel("density")
    columns[1, 0].set_ylabel("probability of real")
    columns[0, 1].legend(fontsize=8, frameon=False, loc="upper left")
    figure.legend(
        *columns[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    task.save(figure, "optimal-1d")


def optimal_2d(task: Task) -> None:
    """Section 2: D over the plane, as heat maps, beside the ratio of two histograms."""
    n, alone, edges = task.of(400_000, 500), task.of(1000, 1), np.linspace(-1.75, 1.75, 51)
    state = toy(ring_points(n), g_rate=2e-4)
    x = middles(edges)
    where = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    moments = (0, 1, 2) if task.quick else (100, 300, 3000)
    figure, rows = plt.subplots(3, 4, figsize=(10, 7), sharex=True, sharey=True, layout="constrained")
    for row, moment in zip(rows, moments, strict=True):
        advance_to(state, moment)
        ratio, answers = over(state, edges, n), belief(state, where)
        later = left_alone(state, alone, where)
        for cloud, colour in ((state.stream.images, BLUE), (fakes(state, n), ORANGE)):
            row[0].plot(*cloud[:1500, :, 0, 0].numpy().T, ".", ms=1.5, color=colour)
        square = ratio.best.shape
        for axes, heat in zip(row[1:], (answers, later, ratio.best.ravel()), strict=True):
            axes.set_facecolor("#dddddd")
            image = axes.pcolormesh(edges, edges, heat.reshape(square).T, vmin=0, vmax=1, cmap="RdBu")
        row[0].set_ylabel(f"after {moment:,} updates of G")
        report("ring", moment, ratio, answers.reshape(square), later.reshape(square))
    for axes in rows.flat:
        axes.set(
            xlim=edges[[0, -1]], ylim=edges[[0, -1]], aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1)
        )
    titles = (
        "data (blue), G (orange)",
        "D in the run",
        f"D after {alone:,} updates more,\nG at rest",
        "p_data / (p_data + p_g)",
    )
    for axes, title in zip(rows[0], titles, strict=True):
        axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=rows, shrink=0.5, label="probability of real")
    task.save(figure, "optimal-2d")


def left_alone(state: State, updates: int, where: Floats) -> Floats:
    """D's answers after so many more updates of D alone; the run is left as it was."""
    gan, stream, knobs = state.gan, state.stream, step.Knobs()
    with state.rehearsal():
        for _ in range(updates):
            real, y = stream.reals()
            with torch.no_grad():
                fake = step.generate(gan, stream.latents(len(real)), y)
            step.move_discriminator(gan, step.discriminator_turn(gan, real, fake, y, stream, knobs))
        return belief(state, where)


def report(name: str, moment: int, ratio: Ratio, answers: Floats, later: Floats) -> None:
    half = np.full_like(answers, 0.5)
    print(
        f"{name}, {moment} updates of G: mean |D − ratio| {ratio.distance(answers):.3f}, "
        f"of D left alone {ratio.distance(later):.3f}, of ½ {ratio.distance(half):.3f}"
    )


def losses(task: Task) -> None:
    """Section 3: losses and Fréchet distance of six recipes, with what they are where all is well."""
    figure, columns = plt.subplots(
        4, 3, figsize=(10, 7.6), layout="constrained", height_ratios=(2, 1, 2, 1), sharex=False
    )
    for i, name in enumerate(name for name in MNIST_RUNS if name != CALM):
        above, below = columns[2 * (i // 3) : 2 * (i // 3) + 2, i % 3]
        rows = runlog.rows(trained(task, name, *MNIST_RUNS[name]))
        draw_losses(above, recipe.read(name), rows)
        above.set_title(f"{name} ({recipe.read(name).objective.kind})", fontsize=10)
        finish(above, "", "loss" if i % 3 == 0 else "")
        above.tick_params(labelbottom=False)
        cards = [row for row in rows if "frechet" in row.get("card", {})]
        below.plot(
            [row["images"] / 1000 for row in cards],
            [row["card"]["frechet"] for row in cards],
            ".-",
            color="black",
        )
        below.set(xlim=above.get_xlim(), ylim=(0, 90))
        finish(below, "thousand images", "Fréchet" if i % 3 == 0 else "")
        print(f"{name}: " + summary(rows))
    handles = columns[0, 1].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside upper center", ncols=6, frameon=False, fontsize=9)
    task.save(figure, "losses")


def draw_losses(axes: Axes, made: recipe.Recipe, rows: list[Row]) -> None:
    """Both losses over images, and what they are at the equilibrium and by chance; equal lines interlace."""
    rows = [row for row in rows if "d_loss" in row]
    objective, images = build.objective(made.objective), [row["images"] / 1000 for row in rows]
    for k, (network, colour) in enumerate((("D", BLUE), ("G", ORANGE))):
        scale = made.objective.d_scale if network == "D" else 1.0
        logged = [row[f"{network.lower()}_loss"] for row in rows]
        axes.plot(images, logged, color=colour, lw=1, label=f"{network}'s loss")
        best, chance = scale * objective.equilibrium[k], scale * objective.chance[k]
        label = f"{network} at the equilibrium"
        axes.axhline(best, color=colour, lw=1.6, ls=(6 * k, (6, 6)), label=label)
        if chance != best:
            axes.axhline(chance, color=colour, lw=1.6, ls=(3 * k, (1, 5)), label=f"{network} by chance")


def summary(rows: list[Row]) -> str:
    """Mean losses over the last third of a run, and the first and last card."""
    logged = [row for row in rows if "d_loss" in row]
    last = logged[-(len(logged) // 3 or 1) :]
    means = {
        key: float(np.mean([row[key] for row in last])) for key in ("d_loss", "g_loss", "d_real", "d_fake")
    }
    cards = [row["card"] for row in rows if "frechet" in row.get("card", {})]
    text = ", ".join(f"{key} {mean:.3f}" for key, mean in means.items())
    if cards:
        first, last_card = cards[0], cards[-1]
        text += f"; Fréchet {first['frechet']:.1f} → {last_card['frechet']:.1f}"
        text += f", recall {last_card['recall']:.3f}, missing {last_card['missing']}"
    return text


def trained(task: Task, name: str, images: int, cards: int, *overrides: str) -> Path:
    """Train a recipe on MNIST, unless that run is there already; return its directory."""
    run = task.runs / "-".join([name, *overrides])
    if run.exists():
        return run
    images = task.of(images, 96)
    watched = (
        f"log.every={max(1, images // 60)}",
        f"card.every={0 if task.quick else images // cards}",
        "samples.every=0",
        f"checkpoint.every={images}",
    )
    if task.quick:
        overrides += quickly(recipe.read(name))
    mulligan.train(
        name,
        data=task.digits,
        images=images,
        seed=SEED,
        out=run,
        device="cpu",
        precision="exact",
        overrides=watched + overrides,
    )
    return run


def quickly(made: recipe.Recipe) -> tuple[str, ...]:
    """Overrides that make a recipe's networks and batches small."""
    small = ("data.batch=32", *(["condition.clusters=2"] if made.condition.clusters else []))
    return (
        *small,
        *(
            f"{network}.width=4"
            for network in ("generator", "discriminator")
            if made.generator.kind == "dcgan"
        ),
    )


def gradients(task: Task) -> None:
    """Section 4: the norm of G's gradient under both objectives, at the same weights, while D runs ahead."""
    state = training.prepare("mlp-relu", data=task.digits, seed=SEED, device="cpu").state
    advance_to(state, task.of(100, 1))
    kinds = {"non-saturating": "−log D(G(z))", "minimax": "log(1 − D(G(z)))"}
    games = {kind: replace(state.gan, objective=build.OBJECTIVES[kind]()) for kind in kinds}
    z = build.latents(state.recipe.latent, 1024, torch.Generator().manual_seed(SEED), torch.float32)
    stream, knobs = state.stream, step.Knobs()
    answers: list[float] = []
    norms: dict[str, list[float]] = {kind: [] for kind in kinds}
    updates = task.of(601, 3)
    measured = {round(i) for i in np.geomspace(1, updates, 40)}
    for i in range(1, updates + 1):
        if i in measured:
            for kind, gan in games.items():
                fake = step.generate(gan, z, None)
                turn = step.generator_turn(gan, fake, fake, None, stream, knobs)
                norms[kind].append(float(torch.stack(torch._foreach_norm(list(turn.gradients))).norm()))
            answers.append(float(torch.sigmoid(turn.fake_logits).mean()))
        real, y = stream.reals()
        fake = step.generate(state.gan, stream.latents(len(real)), y).detach()
        moved = step.discriminator_turn(state.gan, real, fake, y, stream, knobs)
        step.move_discriminator(state.gan, moved)
    figure, axes = plt.subplots(figsize=(7.2, 3.8), layout="constrained")
    for (kind, formula), colour in zip(kinds.items(), (GREEN, ORANGE), strict=True):
        axes.loglog(answers, norms[kind], "o", ms=4.5, color=colour, label=f"G minimises {formula}")
    axes.invert_xaxis()
    finish(axes, "mean D(G(z)); to the right, D is surer that fakes are fake", "norm of G's gradient")
    figure.legend(loc="outside upper center", fontsize=10, frameon=False, ncols=2)
    task.save(figure, "gradients")
    for i in (0, -1):
        a, b = (norms[kind][i] for kind in kinds)
        print(
            f"D(G(z)) = {answers[i]:.5f}: gradient {a:.4f} non-saturating, {b:.6f} minimax, {a / b:.0f} times"
        )


def d_steps(task: Task) -> None:
    """Section 5: the Fréchet distance for one, two and five updates of D for each of G's."""
    figure, pair = plt.subplots(1, 2, figsize=(8.4, 3.4), sharey=True, layout="constrained")
    for k, colour, marker in ((1, BLUE, "o"), (2, GREEN, "s"), (5, ORANGE, "^")):
        rows = runlog.rows(trained(task, "mlp-relu", 600_000, 10, f"step.d_steps={k}"))
        cards = [row for row in rows if "frechet" in row.get("card", {})]
        for axes, key in zip(pair, ("images", "step"), strict=True):
            xs, ys = [row[key] / 1000 for row in cards], [row["card"]["frechet"] for row in cards]
            axes.plot(xs, ys, f"{marker}-", ms=4, color=colour, label=f"{k} of D for each of G")
        print(f"d_steps {k}: {rows[-1]['step']} updates of G; " + summary(rows))
    pair[0].legend(fontsize=9, frameon=False)
    pair[0].set_ylim(0, None)
    finish(pair[0], "thousand images that D has seen", "Fréchet distance")
    finish(pair[1], "thousand updates of G", "")
    task.save(figure, "d-steps")


def calm(task: Task) -> None:
    """Section 6: a calm run that has collapsed, and a restless one that has not."""
    figure, cells = plt.subplots(
        2, 2, figsize=(9, 6), layout="constrained", width_ratios=(1.5, 1), sharey="col"
    )
    for (left, right), name in zip(cells, (CALM, RESTLESS), strict=True):
        run = trained(task, name, *MNIST_RUNS[name])
        draw_losses(left, recipe.read(name), runlog.rows(run))
        left.set_title(name, fontsize=10)
        finish(left, "thousand images", "loss")
        made = mulligan.load(run).sample(32, seed=SEED)
        right.imshow(np.asarray(pictures.grid(made, 8)), cmap="gray", interpolation="nearest")
        right.set_axis_off()
        card = next((row["card"] for row in reversed(runlog.rows(run)) if "card" in row), None)
        if card:
            found = f"Fréchet distance {card['frechet']:.1f}, recall {card['recall']:.2f}"
            right.set_title(f"{found},\n{len(card['missing'])} of 10 digits missing", fontsize=10)
        print(f"{name}: " + summary(runlog.rows(run)))
    figure.legend(
        handles=cells[0, 0].get_legend_handles_labels()[0],
        loc="outside upper center",
        ncols=6,
        frameon=False,
        fontsize=9,
    )
    task.save(figure, "calm")


# The tables --------------------------------------------------------------------------------------


def objective_rows() -> Iterable[str]:
    """The table of section 3, from the code."""
    yield "| objective | D minimises | G minimises | at the equilibrium: D, G | by chance: D, G |"
    yield "|---|---|---|---|---|"
    for kind, make in build.OBJECTIVES.items():
        of_d, of_g = FORMULAS[kind]
        for labels in ((), (0.9, 0.0)) if kind == "non-saturating" else ((),):
            made = make(*labels)
            name = f"`{kind}`" + (f", `real_label` {labels[0]}" if labels else "")
            pairs = (f"{plain(d)}, {plain(g)}" for d, g in (made.equilibrium, made.chance))
            yield (
                "| " + " | ".join((name, "the same, with labels" if labels else of_d, of_g, *pairs)) + " |"
            )


def plain(number: float) -> str:
    return f"{number:.3f}".rstrip("0").rstrip(".").replace("-", "−")


def tutorial_rows() -> Iterable[str]:
    """The table of section 5, from the recipes."""
    yield "| recipe | `step.order` | `step.d_steps` | `step.noise` |"
    yield "|---|---|---|---|"
    for name in TUTORIALS:
        table = recipe.read(name).step
        yield f"| `{name}` | `{table.order}` | {table.d_steps} | `{table.noise}` |"


FIGURES: dict[str, Callable[[Task], None]] = {
    "turns": turns,
    "optimal-1d": optimal_1d,
    "optimal-2d": optimal_2d,
    "losses": losses,
    "gradients": gradients,
    "d-steps": d_steps,
    "calm": calm,
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--only", nargs="+", choices=list(FIGURES), default=list(FIGURES))
    parser.add_argument("--runs", type=Path, help="where runs are kept, and taken from if they are there")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as passing:
        task = Task(options.out, options.runs or Path(passing), options.quick)
        for name in options.only:
            begun = time.monotonic()
            FIGURES[name](task)
            print(f"{name}: {time.monotonic() - begun:.0f} s\n", flush=True)
    print(*objective_rows(), "", *tutorial_rows(), sep="\n")


if __name__ == "__main__":
    main()
