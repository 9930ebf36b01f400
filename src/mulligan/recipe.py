"""A recipe: every choice that makes one GAN differ from another, as data.

A recipe is a TOML file. This module reads, merges, validates and writes it, and turns whatever
is wrong with one into a single line that names the key and the nearest right value.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mulligan.errors import UserError, nearest

Activation = Literal["relu", "leaky-relu", "tanh"]
Output = Literal["sigmoid", "tanh"]
Init = Literal["he-normal", "inverse-fan-in", "glorot-uniform", "torch"]
Norm = Literal["none", "batch"]
Width = Annotated[int, Field(ge=1, le=16384)]
Images = Annotated[int, Field(ge=1, le=10**12)]

MAX_RECIPE_BYTES = 1 << 20


class Table(BaseModel):
    """A table of a recipe: unknown keys are refused, types are taken at their word."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(Table):
    """How real images reach the discriminator."""

    batch: Annotated[int, Field(ge=1, le=65536)] = 64
    order: Literal["epoch", "replacement"] = "epoch"
    last: Literal["carry", "short"] = "carry"  # an epoch's last batch: filled from the next, or short
    holdout: Annotated[int, Field(ge=0)] = 0  # first images left out of the named 60,000-image sets
    size: Annotated[int, Field(ge=8, le=128)] = 28  # pixels; for sets that have no size of their own
    pixels: Annotated[tuple[float, float], Field(strict=False)] = (-1.0, 1.0)  # what 0 and 255 become

    @model_validator(mode="after")
    def _check(self) -> Data:
        if not self.pixels[0] < self.pixels[1]:
            raise ValueError("pixels must be [low, high] with low < high")
        return self


class Latent(Table):
    """The law that z is drawn from."""

    size: Annotated[int, Field(ge=1, le=4096)] = 100
    law: Literal["uniform", "normal"] = "normal"
    low: float = -1.0  # of the uniform law
    high: float = 1.0  # of the uniform law, exclusive

    @model_validator(mode="after")
    def _check(self) -> Latent:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        return self


class _MLP(Table):
    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[list[Width], Field(min_length=1, max_length=16)]
    activation: Activation = "leaky-relu"  # the leaky slope is 0.2
    norm: Norm | list[Norm] = "none"  # one for all hidden layers, or one for each
    norm_eps: Annotated[float, Field(gt=0, le=10)] = 1e-5
    init: Init = "torch"

    @model_validator(mode="after")
    def _check(self) -> _MLP:
        if isinstance(self.norm, list) and len(self.norm) != len(self.hidden):
            raise ValueError(f"norm lists {len(self.norm)} layers, hidden lists {len(self.hidden)}")
        return self

    @property
    def norms(self) -> list[Norm]:
        """One normalisation per hidden layer."""
        return self.norm if isinstance(self.norm, list) else [self.norm] * len(self.hidden)


class MLPGenerator(_MLP):
    """z → dense layers → pixels."""

    output: Output = "tanh"


class MLPDiscriminator(_MLP):
    """Pixels → dense layers → logits."""


class _TutorialDCGAN(Table):
    kind: Literal["tutorial-dcgan"] = "tutorial-dcgan"
    activation: Activation = "tanh"
    init: Init = "glorot-uniform"


class TutorialDCGANGenerator(_TutorialDCGAN):
    """Dense to channels[0] feature maps, two transposed convolutions (4×4 and 2×2, stride 2) to pixels."""

    channels: Annotated[list[Width], Field(min_length=2, max_length=2)] = [128, 64]
    output: Output = "sigmoid"


class TutorialDCGANDiscriminator(_TutorialDCGAN):
    """Two 5×5 convolutions, each with average pooling; one dense layer; logits."""

    channels: Annotated[list[Width], Field(min_length=2, max_length=2)] = [64, 128]
    dense: Width = 1024


GeneratorTable = Annotated[MLPGenerator | TutorialDCGANGenerator, Field(discriminator="kind")]
DiscriminatorTable = Annotated[MLPDiscriminator | TutorialDCGANDiscriminator, Field(discriminator="kind")]


class ObjectiveTable(Table):
    """The game: what each network minimises."""

    kind: Literal["non-saturating", "minimax", "softmax"] = "non-saturating"
    real_label: Annotated[float, Field(gt=0.5, le=1)] = 1.0  # below 1: one-sided label smoothing
    d_scale: Annotated[float, Field(gt=0)] = 1.0  # times (mean real term + mean fake term)

    @model_validator(mode="after")
    def _check(self) -> ObjectiveTable:
        if self.real_label < 1 and self.kind == "softmax":
            raise ValueError("label smoothing (real_label) needs one logit: non-saturating or minimax")
        return self


class StepTable(Table):
    """The order in which the two networks move, and the noise they see."""

    order: Literal["d-then-g", "g-then-d", "together"] = "d-then-g"
    noise: Literal["shared", "fresh"] = "fresh"  # does G's update see the z of D's last one?
    d_steps: Annotated[int, Field(ge=1, le=100)] = 1


class Adam(Table):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), in PyTorch's form."""

    kind: Literal["adam"] = "adam"
    lr: Annotated[float, Field(gt=0, le=10)] = 2e-4
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    eps: Annotated[float, Field(gt=0, le=1)] = 1e-8


class Optimizers(Table):
    """One optimiser for each network."""

    generator: Adam = Adam()
    discriminator: Adam = Adam()


class EMATable(Table):
    """The moving average of the generator's weights that pictures are made with."""

    half_life: Annotated[int, Field(ge=0)] = 0  # images; 0 turns it off


class Budget(Table):
    """When a run ends; whichever comes first. Schedules follow ``images``."""

    images: Images = 1_000_000
    steps: Annotated[int, Field(ge=1)] | None = None
    minutes: Annotated[float, Field(gt=0)] | None = None


class Cadence(Table):
    """How often, in images seen."""

    every: Annotated[int, Field(ge=0)] = 0  # images; 0: at the end only
    counts: Literal["from-zero", "from-one"] = "from-one"  # is the very first update a multiple?
    first: bool = False  # under from-one: at the first update as well
    most: Annotated[int, Field(ge=1)] = 1000  # after so many, `every` doubles; and again after as many


class Log(Cadence):
    """What is printed and written to log.jsonl."""

    losses: Literal["training", "fresh"] = "training"  # of the update itself, or on fresh batches after it


class Samples(Cadence):
    """Pictures made while training."""

    most: Annotated[int, Field(ge=1)] = 100
    grid: Annotated[tuple[int, int], Field(strict=False)] = (4, 4)  # rows, columns
    latents: Literal["fresh", "fixed"] = "fixed"

    @model_validator(mode="after")
    def _check(self) -> Samples:
        if not all(1 <= side <= 64 for side in self.grid):
            raise ValueError("grid must be [rows, columns], each from 1 to 64")
        return self


class CheckpointTable(Table):
    """How often everything is saved."""

    every: Images = 500_000  # images
    keep: Annotated[int, Field(ge=2, le=1000)] = 12  # at the most; older ones are thinned evenly


class NoStop(Table):
    """Run to the end of the budget."""

    kind: Literal["none"] = "none"


class DOfFakeStop(Table):
    """Stop when D(G(z)) of one fresh sample lies between low and high."""

    kind: Literal["d-of-fake"]
    low: Annotated[float, Field(ge=0, le=1)] = 0.45
    high: Annotated[float, Field(ge=0, le=1)] = 0.55
    min_steps: Annotated[int, Field(ge=1)] = 10


StopTable = Annotated[NoStop | DOfFakeStop, Field(discriminator="kind")]


class Recipe(Table):
    """Everything that defines a run, but for the data, the seed and the machine."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    title: str = ""
    source: str = ""
    data: Data = Data()
    latent: Latent = Latent()
    generator: GeneratorTable
    discriminator: DiscriminatorTable
    objective: ObjectiveTable = ObjectiveTable()
    step: StepTable = StepTable()
    optimizer: Optimizers = Optimizers()
    ema: EMATable = EMATable()
    budget: Budget = Budget()
    log: Log = Log()
    samples: Samples = Samples()
    checkpoint: CheckpointTable = CheckpointTable()
    stop: StopTable = NoStop()

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        inside = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}[self.generator.output]
        low, high = self.data.pixels
        if low < inside[0] or high > inside[1]:
            raise ValueError(
                f"data.pixels [{low:g}, {high:g}] lies outside what generator.output "
                f"{self.generator.output!r} can reach: use [{inside[0]:g}, {inside[1]:g}]"
            )
        return self

    def to_toml(self) -> str:
        """Write the recipe, every key spelled out, as TOML that ``read`` reads back unchanged."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


# Reading ---------------------------------------------------------------------------------------


def names() -> list[str]:
    """Names of the recipes that come with the package, in alphabetical order."""
    folder = resources.files("mulligan.recipes")
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def text(name: str) -> str:
    """The TOML of a recipe that comes with the package, comments and all."""
    if name not in names():
        raise UserError(f"there is no recipe {name!r}{nearest(name, names())}")
    return (resources.files("mulligan.recipes") / f"{name}.toml").read_text(encoding="utf-8")


def read(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or from a TOML file and apply ``key=value`` overrides.

    A file may say ``extends = "mlp-relu"``: its keys are then laid over that recipe's.

    Raises:
        UserError: no such recipe or file, not TOML, or a key that is wrong, named in one line.
    """
    where = str(source)
    if where.endswith(".toml") or "/" in where:
        table = _parse(_read_file(Path(source)), where)
    else:
        table = _parse(text(where), where)
    if "extends" in table:
        base = table.pop("extends")
        if not isinstance(base, str):
            raise UserError(f"{where}: extends must be the name of a recipe, got {base!r}")
        table = merge(_parse(text(base), base), table)
    for override in overrides:
        table = merge(table, _parse_override(override))
    return from_dict(table, where)


def from_dict(table: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Validate a merged table; a fault becomes one UserError that begins with ``where``."""
    try:
        return Recipe.model_validate(dict(table))
    except ValidationError as error:
        raise UserError(f"{where}: {_explain(error, table)}") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one table over another, key by key, at every depth.

    A sub-table whose ``kind`` changes is replaced whole: the keys of an MLP mean nothing to a
    DCGAN, and the new kind's own defaults apply.
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        same_kind = (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and ("kind" not in old or value.get("kind", old["kind"]) == old["kind"])
        )
        merged[key] = merge(old, value) if same_kind and isinstance(old, Mapping) else value
    return merged


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_RECIPE_BYTES + 1)
    except OSError as error:
        hint = nearest(path.stem, names()) if not path.exists() else ""
        raise UserError(f"cannot read the recipe {path}: {error.strerror}{hint}") from None
    if len(raw) > MAX_RECIPE_BYTES:
        raise UserError(f"{path}: a recipe is at most 1 MiB")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a recipe: expected TOML in UTF-8") from None


def _parse(toml: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(toml)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise UserError(f"{where}: not valid TOML: {str(error) or 'nested too deeply'}") from None


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, raw = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise UserError(f"--set {override}: expected path.to.key=value, such as optimizer.generator.lr=2e-4")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        value = raw.strip()  # a bare word, such as objective.kind=minimax, is a string
    table: dict[str, Any] = {parts[-1]: value}
    for part in reversed(parts[:-1]):
        table = {part: table}
    return table


# Explaining ------------------------------------------------------------------------------------


def _explain(error: ValidationError, table: Mapping[str, Any]) -> str:
    """Say in one line what the first fault is."""
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    path, model = _locate(fault["loc"], table)
    key = ".".join(path)
    kind = fault["type"]
    if kind == "extra_forbidden":
        return f"{key} is not a key{nearest(path[-1], model)}"
    if kind == "missing":
        return f"{key} is missing"
    if kind in ("literal_error", "union_tag_invalid"):
        expected = fault["ctx"].get("expected") or fault["ctx"].get("expected_tags", "")
        choices = [c.strip().strip("'") for c in expected.replace(" or ", ",").split(",")]
        given = fault["input"]
        if kind == "union_tag_invalid":
            key, given = f"{key}.kind", fault["ctx"]["tag"]
        return f"{key} = {given!r} is not known{nearest(str(given), choices)}"
    if kind == "union_tag_not_found":
        return f"{key} needs a kind"
    message = fault["msg"].removeprefix("Value error, ")
    given = fault["input"]
    shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{key}: {message}{shown}" if key else message


def _locate(loc: Sequence[int | str], table: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Turn pydantic's location into the path a user wrote and the keys that are right there.

    Pydantic puts the kind of a sub-table into the location (generator, mlp, hidden); a user
    never wrote it there.
    """
    path: list[str] = []
    here: Any = table
    model: Any = Recipe
    for part in loc:
        if isinstance(here, Mapping) and part not in here and here.get("kind") == part:
            model = _KINDS.get((path[-1], str(part)), model)
            continue
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            model = field.annotation if field else model
        path.append(str(part))
        here = here.get(part) if isinstance(here, Mapping) else None
    fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
    return path, list(fields)


_KINDS: dict[tuple[str, str], type[Table]] = {
    ("generator", "mlp"): MLPGenerator,
    ("generator", "tutorial-dcgan"): TutorialDCGANGenerator,
    ("discriminator", "mlp"): MLPDiscriminator,
    ("discriminator", "tutorial-dcgan"): TutorialDCGANDiscriminator,
    ("stop", "none"): NoStop,
    ("stop", "d-of-fake"): DOfFakeStop,
}
