"""The tables of a recipe, but for the networks': what each key means, and what cannot be combined."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, model_validator

from mulligan.recipe.base import Count, CountOrOff, Decay, Number, Rate, Table, Weight
from mulligan.recipe.networks import Conditioning, DiscriminatorTable, GeneratorTable, Output

Policy = Literal["color", "brightness", "saturation", "contrast", "translation", "cutout", "affine"]


class Data(Table):
    """How real images reach the discriminator."""

    batch: Annotated[int, Field(ge=1, le=65536)] = 64
    """Images in a batch."""
    order: Literal["epoch", "replacement"] = "epoch"
    """Every image once an epoch, in a new order each; or drawn with replacement."""
    last: Literal["carry", "short"] = "carry"
    """An epoch's last batch: filled from the next epoch, or short."""
    holdout: CountOrOff = 0
    """First images left out of the named 60,000-image sets."""
    size: Annotated[int, Field(ge=8, le=128)] = 28
    """Pixels a side, for sets that have no size of their own."""
    pixels: Annotated[tuple[Number, Number], Field(strict=False)] = (-1.0, 1.0)
    """What the pixel values 0 and 255 become."""

    @model_validator(mode="after")
    def _check(self) -> Data:
        if not self.pixels[0] < self.pixels[1]:
            raise ValueError("pixels must be [low, high] with low < high")
        return self


class Latent(Table):
    """The law that z is drawn from."""

    size: Annotated[int, Field(ge=1, le=4096)] = 100
    """Numbers in z."""
    law: Literal["uniform", "normal"] = "normal"
    """What each of them is drawn from."""
    low: Number = -1.0
    """Lower end of the uniform law."""
    high: Number = 1.0
    """Upper end of the uniform law, exclusive."""

    @model_validator(mode="after")
    def _check(self) -> Latent:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        return self


class ObjectiveTable(Table):
    """The game: what each network minimises."""

    kind: Literal[
        "non-saturating",
        "minimax",
        "softmax",
        "least-squares",
        "hinge",
        "wasserstein",
        "relativistic-paired",
        "relativistic-average",
    ] = "non-saturating"
    """The losses of both networks; see objectives.py for formulas and sources."""
    real_label: Annotated[float, Field(gt=0.5, le=1)] = 1.0
    """What D is told of reals; below 1 is one-sided label smoothing (Salimans et al. 2016)."""
    fake_label: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """What D is told of fakes; above 0 is two-sided label smoothing."""
    d_scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Factor of D's loss, the mean over reals plus the mean over fakes."""

    @property
    def smoothed(self) -> bool:
        """Are labels other than 1 and 0?"""
        return self.real_label < 1 or self.fake_label > 0

    @property
    def has_probability(self) -> bool:
        """Do logits say how probable it is that an image is real?"""
        return self.kind in ("non-saturating", "minimax", "softmax")

    @model_validator(mode="after")
    def _check(self) -> ObjectiveTable:
        if self.smoothed and self.kind not in ("non-saturating", "minimax"):
            raise ValueError(
                f"label smoothing (real_label, fake_label) means nothing to {self.kind!r}: "
                "it is for non-saturating and minimax"
            )
        return self


class PenaltyTable(Table):
    """Penalties on D's slope, each by its weight γ, in D's loss; 0 turns one off."""

    r1: Weight = 0.0
    """½‖∇D‖² at reals (Mescheder et al. 2018, arXiv 1801.04406)."""
    r2: Weight = 0.0
    """½‖∇D‖² at fakes (Mescheder et al. 2018)."""
    gradient_penalty: Weight = 0.0
    """(‖∇D‖ − 1)² between reals and fakes (Gulrajani et al. 2017, arXiv 1704.00028)."""
    one_sided_gradient_penalty: Weight = 0.0
    """max(0, ‖∇D‖ − 1)² there (Petzka et al. 2018, arXiv 1709.08894)."""
    dragan: Weight = 0.0
    """(‖∇D‖ − 1)² around reals (Kodali et al. 2017, arXiv 1705.07215)."""

    @property
    def used(self) -> dict[str, Any]:
        """The penalties that are on, by name, with their weights."""
        return {name: weight for name, weight in self if weight != 0}


class ConstraintTable(Table):
    """Constraints on D's weights, applied once after its optimiser; spectral norm is D's own key."""

    clip: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """Bound on every weight of D (Arjovsky et al. 2017, arXiv 1701.07875); 0 turns it off."""


class AugmentTable(Table):
    """What happens to reals and fakes alike before D sees them."""

    policy: Annotated[list[Policy], Field(max_length=8)] = []  # noqa: RUF012
    """In this order: DiffAugment (Zhao et al. 2020, arXiv 2006.10738), `affine` as in ADA (2006.06676)."""
    noise: Weight = 0.0
    """Standard deviation of instance noise, in the pixels' own units (Sønderby et al. 2017)."""


class StepTable(Table):
    """The order in which the two networks move, and the noise they see."""

    order: Literal["d-then-g", "g-then-d", "together"] = "d-then-g"
    """Which network moves first; together: both gradients at the same weights."""
    noise: Literal["shared", "fresh"] = "fresh"
    """Does G's update see the z of D's last one, or its own?"""
    d_steps: Annotated[int, Field(ge=1, le=100)] = 1
    """D's updates for each of G's (Goodfellow et al. 2014, Algorithm 1)."""
    pack: Annotated[int, Field(ge=1, le=16)] = 1
    """Images that D judges at once (PacGAN, Lin et al. 2018, arXiv 1712.04086)."""


class Adam(Table):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), in PyTorch's form."""

    kind: Literal["adam"] = "adam"
    """The only optimiser."""
    lr: Rate = 2e-4
    """Learning rate."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Decay of the gradient's mean."""
    beta2: Decay = 0.999
    """Decay of the gradient's square."""
    eps: Annotated[float, Field(gt=0, le=1)] = 1e-8
    """Added to the root of the square's mean."""


class Optimizers(Table):
    """One optimiser for each network."""

    generator: Adam = Adam()
    discriminator: Adam = Adam()


class EMATable(Table):
    """The moving average of the generator's weights that pictures are made with."""

    half_life: CountOrOff = 0
    """Images after which a weight's influence has halved; 0 turns the average off."""


class Budget(Table):
    """When a run ends; whichever comes first. Schedules follow ``images``."""

    images: Count = 1_000_000
    """Real images shown to D; schedules follow it."""
    steps: Count | None = None
    """Updates."""
    minutes: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Minutes of one session."""


class Cadence(Table):
    """How often, in images seen."""

    every: CountOrOff = 0
    """Images; 0: at the end only."""
    counts: Literal["from-zero", "from-one"] = "from-one"
    """Is the very first update a multiple?"""
    first: bool = False
    """Under from-one: at the first update as well."""
    most: Count = 1000
    """After so many, `every` doubles; and again whenever the run has doubled."""


class Log(Cadence):
    """What is printed and written to log.jsonl."""

    every: CountOrOff = 25_000
    """Images; 0: nothing is."""
    losses: Literal["training", "fresh"] = "training"
    """Of the update itself, or on fresh batches after it."""
    examinations: Annotated[int, Field(ge=0, le=1000)] = 50
    """Over the budget, for the doctor; in a run of few updates some 24, at most one in 25; 0: none."""


class Samples(Cadence):
    """Pictures made while training."""

    every: CountOrOff = 100_000
    """Images; 0: at the end only."""
    most: Count = 100
    """After so many pictures, `every` doubles; and again whenever the run has doubled."""
    grid: Annotated[tuple[int, int], Field(strict=False)] = (4, 4)
    """Rows and columns of a picture."""
    latents: Literal["fresh", "fixed"] = "fixed"
    """New latents for each picture, or always the same."""

    @model_validator(mode="after")
    def _check(self) -> Samples:
        if not all(1 <= side <= 64 for side in self.grid):
            raise ValueError("grid must be [rows, columns], each from 1 to 64")
        return self


class Card(Cadence):
    """A light scorecard while training; a run longer than one `every` ends with one."""

    every: CountOrOff = 50_000
    """Images; 0: none."""
    most: Count = 100
    """After so many cards, `every` doubles; and again whenever the run has doubled."""
    n: Annotated[int, Field(ge=256, le=60_000)] = 2048
    """Images drawn for each."""


class CheckpointTable(Table):
    """How often everything is saved."""

    every: Count = 500_000
    """Images."""
    keep: Annotated[int, Field(ge=2, le=1000)] = 12
    """At the most; older ones are thinned evenly."""


class NoStop(Table):
    """Run to the end of the budget."""

    kind: Literal["none"] = "none"
    """No rule."""


class DOfFakeStop(Table):
    """Stop when D(G(z)) of one fresh sample lies between low and high."""

    kind: Literal["d-of-fake"]
    """The rule of the `mlp-tanh` tutorial."""
    low: Annotated[float, Field(ge=0, le=1)] = 0.45
    """Stop above it."""
    high: Annotated[float, Field(ge=0, le=1)] = 0.55
    """And below it."""
    min_steps: Count = 10
    """Updates before the rule is asked."""

    @model_validator(mode="after")
    def _check(self) -> DOfFakeStop:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        return self


class PlateauStop(Table):
    """Stop when the light scorecards have ceased to improve."""

    kind: Literal["plateau"]
    """By evidence, not by D(G(z))."""
    cards: Annotated[int, Field(ge=2, le=10**6)] = 12
    """Cards without one whose Fréchet distance lies below the interval of the best before."""
    min_images: CountOrOff = 0
    """Images before the rule is asked."""


StopTable = Annotated[NoStop | DOfFakeStop | PlateauStop, Field(discriminator="kind")]


REACH: dict[Output, tuple[float, float]] = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


class Recipe(Table):
    """Everything that defines a run, but for the data, the seed and the machine."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    """Names run directories."""
    title: str = ""
    """A few words for people."""
    source: str = ""
    """Where the recipe comes from."""
    data: Data = Data()
    latent: Latent = Latent()
    generator: GeneratorTable
    discriminator: DiscriminatorTable
    condition: Conditioning = Conditioning()
    objective: ObjectiveTable = ObjectiveTable()
    penalty: PenaltyTable = PenaltyTable()
    constraint: ConstraintTable = ConstraintTable()
    augment: AugmentTable = AugmentTable()
    step: StepTable = StepTable()
    optimizer: Optimizers = Optimizers()
    ema: EMATable = EMATable()
    budget: Budget = Budget()
    log: Log = Log()
    samples: Samples = Samples()
    card: Card = Card()
    checkpoint: CheckpointTable = CheckpointTable()
    stop: StopTable = NoStop()

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        inside = REACH.get(self.generator.output)
        low, high = self.data.pixels
        if inside and (low < inside[0] or high > inside[1]):
            raise ValueError(
                f"data.pixels [{low:g}, {high:g}] lies outside what generator.output "
                f"{self.generator.output!r} can reach: use [{inside[0]:g}, {inside[1]:g}]"
            )
        for fault in self._contradictions():
            raise ValueError(fault)
        return self

    def _contradictions(self) -> Iterator[str]:
        """Say what cannot be combined, and what to do instead."""
        kind, d, pack = self.objective.kind, self.discriminator, self.step.pack
        if self.condition.kind == "projection" and kind == "softmax":
            yield "condition.kind 'projection' needs one logit, 'softmax' has two: use 'concat'"
        if self.stop.kind == "d-of-fake" and not self.objective.has_probability:
            yield f"stop.kind 'd-of-fake' needs a probability, objective.kind {kind!r} has none: use 'none'"
        if self.log.losses == "fresh" and (not self.objective.has_probability or pack > 1):
            yield f"log.losses 'fresh' measures D(G(z)) of one image: not with {kind!r} and pack {pack}"
        if self.stop.kind == "d-of-fake" and pack > 1:
            yield f"stop.kind 'd-of-fake' looks at one image, step.pack is {pack}"
        if self.stop.kind == "plateau" and not self.card.every:
            yield "stop.kind 'plateau' reads the light scorecards, card.every is 0: use 50000"
        if self.stop.kind == "plateau" and self.generator.output == "linear":
            yield "stop.kind 'plateau' reads the Fréchet distance of images: use 'none' for points"
        if pack > 1 and self.data.batch % pack:
            near = max(1, round(self.data.batch / pack)) * pack
            yield f"data.batch {self.data.batch} cannot be packed by {pack}: use {near}"
        if pack > 1 and self.data.last == "short":
            yield "data.last 'short' leaves batches that cannot be packed: use 'carry'"
        if pack > 1 and self.condition.kind != "none":
            yield "step.pack above 1 mixes classes in one judgement: use condition.kind 'none'"
        if self.penalty.used and d.normalised:
            name = next(iter(self.penalty.used))
            yield f"penalty.{name} is one image's slope, which BatchNorm mixes: use discriminator.norm 'none'"
        if self.constraint.clip and d.spectral_norm:
            yield "constraint.clip and discriminator.spectral_norm both bound D's weights: use one"
        if self.generator.output == "linear" and self.augment.policy:
            yield "augment.policy is for pixels, and generator.output is 'linear'"

    def to_toml(self) -> str:
        """Write the recipe, every key spelled out, as TOML that ``read`` reads back unchanged."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
