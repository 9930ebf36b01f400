"""All that a run is at one moment: what the loop moves, and what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from mulligan import build, checkpoint, distributed, graphs
from mulligan.checkpoint import AboutData, Checkpoint, Meta, Scores
from mulligan.compiled import CannotCompile, Compiled, Compiler, as_written, inductor
from mulligan.conditions import Conditions
from mulligan.data.dataset import Dataset
from mulligan.data.parts import Labels, Parts, divide, divide_pieces
from mulligan.distributed import Group
from mulligan.ema import EMA
from mulligan.errors import UserError, first_line
from mulligan.graphs import Recorder
from mulligan.hardware import Mode
from mulligan.recipe import Recipe
from mulligan.sampler import Sampler, for_sampling
from mulligan.step import GAN, Update
from mulligan.stream import Stream


@dataclass
class State:
    """A run in motion.

    Attributes:
        stream: Feeds the training step.
        probe: Feeds measurements on fresh batches, which thus leave training's bits alone.
        images: Reals that D has consumed.
        steps: Updates made.
        seconds: Time spent training, over all sessions.
        stopped: Why the recipe's stop rule ended the run, if it did.
        scores: What the light scorecards have said so far; None before the first.
        update: What the last update saw.
        health: That of all updates since somebody looked, added up; None where nobody need look.
        mode: How the machine computes it.
        compiled: Makes the updates, where they have been compiled.
        group: The processes that make each update together.
    """

    recipe: Recipe
    seed: int
    gan: GAN
    ema: EMA | None
    stream: Stream
    probe: Stream
    about_data: AboutData
    images: int = 0
    steps: int = 0
    seconds: float = 0.0
    stopped: str | None = None
    scores: Scores | None = None
    update: Update | None = None
    health: Tensor | None = None
    mode: Mode = field(default_factory=Mode)
    compiled: Compiled | None = None
    group: Group | None = None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.gan.generator.parameters()).device

    def advance(self) -> Update:
        """Make one update of everything that training moves; a group's leader takes the others along."""
        if self.group is None:
            return self._advance()
        if self.group.rank == 0:
            self.group.lead(distributed.ADVANCE)
        with self.group.together():
            return self._advance()

    def _advance(self) -> Update:
        optimizers = self.recipe.optimizer
        build.set_rates(self.gan.g_optimizer, optimizers.generator, self.images)
        build.set_rates(self.gan.d_optimizer, optimizers.discriminator, self.images)
        knobs = build.knobs(self.recipe, self.images)
        if self.compiled and self.stream.whole(self.gan.d_steps):
            self.update = self.compiled(self.stream, knobs)
        else:
            self.update = self.gan.step(self.stream, knobs)
            if self.compiled:
                self.compiled.count()
            if self.ema:
                self.ema.update(self.gan.generator, self.ema.weight(self.stream.world * self.update.images))
        seen = self.update.health
        self.health = seen.clone() if self.health is None else self.health + seen
        self.images += self.stream.world * self.update.images
        self.steps += 1
        return self.update

    def use(self, mode: Mode) -> None:
        """Compute so from now on.

        Raises:
            CannotCompile: this machine cannot; the run is left computing without.
        """
        self.gan = replace(self.gan, precision=build.precision(mode.precision, self.device))
        self.mode, self.compiled = Mode(mode.precision), None
        if mode.captured and self.device.type != "cuda":
            raise CannotCompile("only a CUDA device can capture updates")
        if mode.compiled or mode.captured:
            self.compile(inductor if mode.compiled else as_written, graphs.cuda if mode.captured else None)
            self.mode = mode

    def compile(self, compiler: Compiler = inductor, record: Recorder | None = None) -> None:
        """Make updates from now on as one function; batches at a short end stay as they are.

        Raises:
            CannotCompile: this machine cannot; updates are made as before.
        """
        # What a GPU cannot do, whatever it says, must not end a run
        refusals = () if self.device.type == "cpu" else (RuntimeError, NotImplementedError, TypeError)
        drawn_from = self.stream.state()
        noise = self.recipe.augment.noise
        self.stream.order.position = 0  # where a batch is whole
        try:
            noisy = bool(noise) if isinstance(noise, float) else True
            self.compiled = Compiled(
                self.gan, self.ema, self.stream, noisy=noisy, compiler=compiler, record=record
            )
        except refusals as error:
            raise CannotCompile(first_line(error)) from error
        finally:
            self.stream.restore(drawn_from)

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Leave the run as it was, however many updates are made within."""
        networks = [self.gan.generator, self.gan.discriminator, *([self.ema.generator] if self.ema else [])]
        optimizers = [self.gan.g_optimizer, self.gan.d_optimizer]
        live = [tensor for network in networks for tensor in network.state_dict().values()]
        live += [value for o in optimizers for entry in o.state.values() for value in entry.values()]
        kept = [tensor.clone() for tensor in live]
        begun, streams = bool(optimizers[0].state), [self.stream, self.probe]
        drawn_from = [stream.state() for stream in streams]
        counts = self.images, self.steps, self.update, self.health
        try:
            yield
        finally:
            for tensor, before in zip(live, kept, strict=True):
                tensor.copy_(before)
            for optimizer in [] if begun else optimizers:
                optimizer.state.clear()
            for stream, state in zip(streams, drawn_from, strict=True):
                stream.restore(state)
            self.images, self.steps, self.update, self.health = counts
            if self.compiled:
                self.compiled.bind()

    def sampler(self) -> Sampler:
        """Return a sampler of the generator as it is now, averaged if the recipe asks for it."""
        generator = self.ema.generator if self.ema else self.gan.generator
        return Sampler(for_sampling(generator, self.recipe, self.conditions), self.recipe, self.conditions)

    @property
    def conditions(self) -> Conditions:
        """What the networks are told of."""
        table = self.recipe.condition
        told = self.stream.labels
        joint = None if told is None or table.pieces == "whole" else told.cpu()
        return Conditions(self.about_data.parts, table.labels, joint)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that must be saved to go on bit for bit, and to sample without going on."""
        parts: dict[str, dict[str, Tensor]] = {
            "generator": self.gan.generator.state_dict(),
            "discriminator": self.gan.discriminator.state_dict(),
            "g_optimizer": checkpoint.pack_optimizer(self.gan.g_optimizer) if self.steps else {},
            "d_optimizer": checkpoint.pack_optimizer(self.gan.d_optimizer) if self.steps else {},
            "stream": self.stream.state(),
            "probe": self.probe.state(),
        }
        if (joint := self.conditions.joint) is not None:
            parts["conditions"] = {"joint": joint.to(torch.int16)}
        if self.ema:
            parts["ema"] = self.ema.generator.state_dict()
        # What samples is the generator again but for averaged weights and recalibrated BatchNorm.
        sampling = self.sampler().generator.state_dict()
        parts["sampler"] = {k: v for k, v in sampling.items() if not torch.equal(v, parts["generator"][k])}
        return {f"{part}.{name}": tensor for part, group in parts.items() for name, tensor in group.items()}

    def meta(self) -> Meta:
        """What a checkpoint says of itself."""
        return Meta(
            images=self.images,
            steps=self.steps,
            seconds=round(self.seconds, 3),
            seed=self.seed,
            stopped=self.stopped,
            scores=self.scores,
            mode=self.mode,
            data=self.about_data,
            recipe=self.recipe.model_dump(mode="json", exclude_none=True),
        )

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint of the same recipe and data.

        Raises:
            UserError: its tensors do not fit.
        """
        try:
            begun = saved.meta.steps > 0
            checkpoint.unpack_network(self.gan.generator, saved.part("generator"))
            checkpoint.unpack_network(self.gan.discriminator, saved.part("discriminator"))
            checkpoint.unpack_optimizer(self.gan.g_optimizer, saved.part("g_optimizer"), begun=begun)
            checkpoint.unpack_optimizer(self.gan.d_optimizer, saved.part("d_optimizer"), begun=begun)
            self.stream.restore(saved.part("stream"))
            self.probe.restore(saved.part("probe"))
            if self.ema:
                kept = saved.meta.recipe.get("ema", {}).get("half_life")  # or a second shot turned it on
                checkpoint.unpack_network(self.ema.generator, saved.part("ema" if kept else "generator"))
            if self.compiled:
                self.compiled.bind()
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{saved.path}: does not fit its run: {first_line(error)}") from None
        self.images, self.steps, self.seconds = saved.meta.images, saved.meta.steps, saved.meta.seconds
        self.stopped, self.scores = saved.meta.stopped, saved.meta.scores


def begin(
    recipe: Recipe,
    dataset: Dataset,
    *,
    source: str | None = None,
    size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    group: Group | None = None,
) -> State:
    """Build a run at its first moment, or this process's part of it.

    ``source`` and ``size`` say where the data came from.

    Raises:
        UserError: the recipe cannot train on this data.
    """
    _check_kind(recipe, dataset)
    held_out = dataset.held_out(recipe.data.holdout)
    images = torch.from_numpy(dataset.images[held_out:]).to(device)
    _check_batches(recipe, len(images), dataset.note)
    if group:
        _check_parts(recipe, len(images), group.world)
    describe = partial(
        checkpoint.about_data,
        name=dataset.name,
        source=source,
        size=size,
        sha256=dataset.sha256,
        images=len(images),
        image_shape=dataset.image_shape,
        class_names=dataset.class_names,
    )
    describe()  # what cannot be, nor be built, is refused before all images are looked at
    build.check_size(recipe, dataset.image_shape, dataset.classes if recipe.condition.labels else 1)
    told, parts = _conditions(recipe, dataset, held_out)
    labels = None if told is None else torch.from_numpy(told).to(device)
    gan = build.gan(
        recipe,
        dataset.image_shape,
        Conditions(parts).total,
        seed=seed,
        device=device,
        dtype=dtype,
        group=group,
    )
    return State(
        recipe=recipe,
        seed=seed,
        gan=gan,
        ema=EMA(gan.generator, recipe.ema.half_life) if recipe.ema.half_life else None,
        group=group,
        stream=Stream(recipe, images, labels, seed, "train", dtype, group),
        probe=Stream(recipe, images, labels, seed, "probe", dtype),
        about_data=describe(parts=parts),
    )


def _conditions(recipe: Recipe, dataset: Dataset, held_out: int) -> tuple[Labels | None, Parts]:
    """Return what the networks are told of each image, and the parts there are.

    That is int64 ``[N]``, of pieces ``[N, P]``, or None.
    """
    table = recipe.condition
    if table.kind == "none":
        return None, ()
    images = dataset.images[held_out:]
    labels = dataset.labels[held_out:] if dataset.labels is not None and table.labels else None
    into = table.clusters, table.smallest
    if table.pieces == "whole":
        return divide(images, labels, dataset.classes, *into)
    return divide_pieces(images, labels, dataset.classes, table.pieces, *into)


def _check_parts(recipe: Recipe, n: int, world: int) -> None:
    """Refuse a batch, or the short one that ends an epoch, of which processes cannot have equal parts."""
    table, unit = recipe.data, recipe.step.pack * world
    if table.batch % unit:
        near = max(1, round(table.batch / unit)) * unit
        raise UserError(f"data.batch {table.batch} cannot be shared by {world} processes: use {near}")
    if (table.order, table.last) == ("epoch", "short") and n % table.batch % world:
        raise UserError(
            f"data.last 'short' leaves {n % table.batch} images, which {world} processes cannot share: "
            "use 'carry'"
        )


def _check_kind(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse pixels for a network that draws points, and points for one that draws pixels."""
    output, points = recipe.generator.output, dataset.images.dtype.kind == "f"
    if points and output != "linear":
        raise UserError(
            f"generator.output {output!r} paints pixels, {dataset.name} is of points: use the recipe 'points'"
        )
    if output == "linear" and not points:
        raise UserError(f"generator.output 'linear' is for points, {dataset.name} is of images: use 'tanh'")
    height, width = dataset.image_shape[1:]
    if recipe.condition.pieces in ("quarters", "pyramid") and min(height, width) < 2:
        what = "points" if points else f"images of {height}×{width}"
        raise UserError(f"condition.pieces: {dataset.name} is of {what}, which have no quarters: use 'whole'")
    for name, table in (("generator", recipe.generator), ("discriminator", recipe.discriminator)):
        if points and table.kind != "mlp":
            raise UserError(
                f"{name}.kind {table.kind!r} wants images, {dataset.name} is of points: "
                "use the recipe 'points'"
            )


def _check_batches(recipe: Recipe, n: int, note: str) -> None:
    """Refuse a batch that the data cannot fill, or one in which BatchNorm would find nothing to compare."""
    table, pack = recipe.data, recipe.step.pack
    if n < table.batch:
        hint = f"use {n} or less" if n else "data.holdout takes them all"
        raise UserError(
            f"data.batch {table.batch}: there are only {n:,} images{f' ({note})' if note else ''}: {hint}"
        )

    def leaves_one(batch: int) -> bool:
        left = n % batch if (table.order, table.last) == ("epoch", "short") else 0
        return 1 in (left, batch // pack)

    if (recipe.generator.normalised or recipe.discriminator.normalised) and leaves_one(table.batch):
        near = next((b for b in range(table.batch + pack, n + 1, pack) if not leaves_one(b)), None)
        raise UserError(
            f"data.batch {table.batch}: {n:,} images leave a batch of one, and BatchNorm needs two: "
            + (f"use {near}" if near else "use norm 'none'")
        )
