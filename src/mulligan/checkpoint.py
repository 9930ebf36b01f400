"""A checkpoint: one safetensors file with JSON in its header. Nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError, model_validator
from torch import Tensor, nn

from mulligan import archive
from mulligan.archive import MAX_HEADER, Header, Side, fault
from mulligan.errors import UserError, first_line, similar
from mulligan.files import write_atomically
from mulligan.hardware import Mode

SCHEMA = 1
FOLDER = "checkpoints"
BEST = "best.safetensors"
MOST_PARTS = 20_000  # that a generator is told of
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam keeps for each parameter

Count = Annotated[int, Field(ge=0, le=10**15)]


class AboutData(Header):
    """The data a run was trained on.

    Attributes:
        name: How the set is recorded.
        source: What ``--data`` said, by which a resumed run finds it again; None where the caller
            handed the images over.
        size: What ``--size`` said, in pixels.
        sha256: Of shape, pixels and labels.
        images: How many of them are trained on.
        image_shape: (C, H, W).
        class_names: In the order of the labels; empty without labels.
        parts: What a conditional generator is told of: for each class, for the one of all images, or for
            each piece of them, how many images each of its parts has. Where labels are told beside
            pieces, they are the first: its parts are the classes.
    """

    name: str
    source: str | None = None
    size: Side | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    images: Count
    image_shape: tuple[Side, Side, Side]
    class_names: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    parts: Annotated[
        tuple[Annotated[tuple[Count, ...], Field(min_length=1, max_length=1000)], ...], Field(max_length=1000)
    ] = ()

    @model_validator(mode="after")
    def _check(self) -> AboutData:
        total = sum(map(len, self.parts))
        if total > MOST_PARTS:
            raise ValueError(
                f"{total:,} parts of classes, at most {MOST_PARTS:,}: use fewer condition.clusters"
            )
        return self


class Scores(Header):
    """What the light scorecards have said so far.

    Attributes:
        images: When the best was drawn.
        frechet: Its Fréchet distance.
        bar: The lower end of its interval: what a later card must beat to be an improvement that
            chance does not explain.
        cards_since: Cards since the last such improvement.
    """

    images: Count
    frechet: float
    bar: float
    cards_since: Count = 0

    def after(self, images: int, frechet: float, low: float) -> Scores:
        """Return what is known after one more card."""
        improved = frechet < self.bar
        return Scores(
            images=images if frechet < self.frechet else self.images,
            frechet=min(frechet, self.frechet),
            bar=low if improved else self.bar,
            cards_since=0 if improved else self.cards_since + 1,
        )


class Meta(Header):
    """What a checkpoint says of itself.

    Attributes:
        images: Reals that D has consumed.
        steps: Updates made.
        seconds: Time spent training.
        seed: The run's seed.
        stopped: Why the recipe's stop rule ended the run, if it did.
        scores: What its light scorecards have said; None before the first.
        mode: How the machine computed it; a resumed run computes alike.
        recipe: The resolved recipe, as in its TOML.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    images: Count
    steps: Count
    seconds: Annotated[float, Field(ge=0)]
    seed: Count
    stopped: Annotated[str, Field(max_length=1000)] | None = None
    scores: Scores | None = None
    mode: Mode = Mode()
    data: AboutData
    recipe: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """What was read: tensors by name, and what the file says of itself."""

    path: Path
    tensors: dict[str, Tensor]
    meta: Meta

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors below ``prefix.``, without it."""
        return {
            k.removeprefix(f"{prefix}."): v for k, v in self.tensors.items() if k.startswith(f"{prefix}.")
        }


def about_data(**values: Any) -> AboutData:
    """Describe a data set.

    Raises:
        UserError: it is of a kind that no checkpoint can describe: sides, classes or names beyond bounds.
    """
    try:
        about = AboutData(**values)
        about.model_dump_json()
    except ValidationError as error:
        raise UserError(f"{values['name']}: {fault(error)}") from None
    except ValueError:
        raise UserError(f"{values['name']}: its name, or a class's, is not Unicode") from None
    return about


def header_of(meta: Meta) -> str:
    """Return what a checkpoint says of itself, as JSON.

    Raises:
        UserError: it is longer than ``read`` would accept.
    """
    text = meta.model_dump_json(by_alias=True)
    if len(json.dumps(text, ensure_ascii=False).encode()) > MAX_HEADER // 2:  # the rest is the tensors'
        raise UserError(
            "the texts of the recipe, and the names in the data, are too long for a checkpoint: cut them"
        )
    return text


def write(run: Path, tensors: Mapping[str, Tensor], meta: Meta) -> Path:
    """Write ``checkpoints/<images>.safetensors`` whole or not at all; return its path.

    Raises:
        OSError: the disk took no more; nothing is left of it.
    """
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{meta.images:012d}.safetensors"
    archive.write(path, tensors, header_of(meta))
    return path


def read(path: Path, *, prefixes: tuple[str, ...] = ("",)) -> Checkpoint:
    """Read the tensors whose names begin with one of the prefixes.

    Raises:
        UserError: not a checkpoint, cut short, or written by another version's schema.
    """
    with archive.opened(path, "a checkpoint", lambda: _instead(path)) as file:
        meta = _meta(path, archive.header_text(file))
        tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefixes)}  # noqa: SIM118
    return Checkpoint(path, tensors, meta)


def _instead(path: Path) -> str:
    """Name the checkpoint before a run's last one, in place of that if it is damaged."""
    of_run = history(path.parent.parent)
    return f": delete it to go on from {of_run[-2].name}" if path in of_run[1:][-1:] else ""


def _meta(path: Path, text: str | None) -> Meta:
    if text is None:
        raise UserError(f"{path}: not a checkpoint of Mulligan: its header says nothing of one")
    try:
        table = json.loads(text)
        schema = table.get("schema")
    except (ValueError, RecursionError, AttributeError):
        raise UserError(f"{path}: not a checkpoint of Mulligan: its header is not a JSON object") from None
    if schema != SCHEMA:
        raise UserError(
            f"{path}: checkpoint schema {first_line(repr(schema))}, expected {SCHEMA}: "
            "written by another version"
        )
    try:
        meta = Meta.model_validate(table)  # parsed by Python, whose parser bears a lack of memory
        meta.model_dump_json()
    except ValidationError as error:
        raise UserError(f"{path}: its header is wrong: {fault(error)}") from None
    except ValueError:
        raise UserError(f"{path}: its header holds text that is not Unicode") from None
    return meta


def keep_as_best(run: Path, path: Path) -> None:
    """Give a checkpoint the name ``checkpoints/best.safetensors`` as well.

    Raises:
        OSError: the disk took no more; the best before it is still there.
    """
    best = run / FOLDER / BEST
    temporary = best.with_name(f".{BEST}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without links
        write_atomically(best, path.read_bytes())
        return
    temporary.replace(best)


def history(run: Path) -> list[Path]:
    """Return a run's checkpoints, oldest first."""
    numbered = re.compile(r"[0-9]+\.safetensors")
    return sorted(path for path in (run / FOLDER).glob("*.safetensors") if numbered.fullmatch(path.name))


def is_best(source: Path) -> bool:
    """Is this a run's best checkpoint, named without its ending?"""
    return source.name == Path(BEST).stem and source.with_name(BEST).is_file()


def find(source: Path, known: Iterable[str] = ()) -> Path:
    """Return the checkpoint that a source means: itself, or a run directory's latest.

    Args:
        source: A checkpoint or a run directory.
        known: Names that would have meant something else, for the error.

    Raises:
        UserError: nothing is there.
    """
    if source.is_file():
        return source
    if is_best(source):
        return source.with_name(BEST)
    if not source.exists():
        raise UserError(f"{source}: no such run directory or checkpoint{similar(source, known)}")
    checkpoints = history(source)
    if not checkpoints:
        raise UserError(f"{source}: no checkpoint here: expected a run directory with {FOLDER}/*.safetensors")
    return checkpoints[-1]


def thin(run: Path, keep: int) -> None:
    """Delete checkpoints until at most ``keep`` are left, evenly spread, the latest among them."""
    paths = history(run)
    while len(paths) > keep:
        # Dropping the one whose neighbours are closest together keeps the history even.
        images = [int(path.stem) for path in paths]
        gaps = [images[i + 1] - images[i - 1] for i in range(1, len(paths) - 1)]
        paths.pop(1 + gaps.index(min(gaps))).unlink()


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimiser's state to ``<parameter>.<name>`` tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, entry in state.items() for name, value in entry.items()}


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], *, begun: bool) -> None:
    """Restore what ``pack_optimizer`` flattened; before the first update there is nothing.

    Raises:
        ValueError: the tensors are not those of an Adam of these parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    missing = {f"{i}.{key}" for i in range(len(parameters)) for key in MOMENTS} if begun else set[str]()
    for name, value in tensors.items():
        if name not in missing:
            raise ValueError(f"the optimiser has no state {name}")
        missing.remove(name)
        i, _, key = name.partition(".")
        parameter = parameters[int(i)]
        expected = torch.empty(()) if key == "step" else parameter
        if (value.shape, value.dtype) != (expected.shape, expected.dtype):
            raise ValueError(f"optimiser state {name} is {value.dtype} of shape {list(value.shape)}")
        if key == "step" and not 1 <= float(value) <= 2**24:  # where float32 stops counting
            raise ValueError(f"optimiser state {name} is {float(value)}")
        if key != "step":  # laid out as the parameter is: torch's fused Adam goes by memory
            value = torch.empty_like(parameter, requires_grad=False).copy_(value)
        state.setdefault(int(i), {})[key] = value
    if missing:
        raise ValueError(f"the optimiser lacks {min(missing)}")
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def unpack_network(network: nn.Module, tensors: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Give a network its saved weights; ``assign`` puts them in the place of its own.

    Raises:
        ValueError, RuntimeError: the tensors are not those of this network, or not finite.
    """
    own = network.state_dict()
    for name, value in tensors.items():
        if name in own and value.dtype != own[name].dtype:
            raise ValueError(f"{name} is {value.dtype}, expected {own[name].dtype}")
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name} is not finite")
    network.load_state_dict(tensors, assign=assign)
