"""Several processes that train one GAN as one would: each takes its part of every batch.

All of them draw the same random numbers and keep the same weights; what is averaged over all of them is
the gradients, and whatever else looks across a batch. The first, of rank 0, leads: it alone writes files
and decides what happens next, and the others make an update whenever it does.
"""

from __future__ import annotations

import atexit
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.modules.batchnorm import _BatchNorm

from mulligan.errors import RunError, UserError, first_line

ADVANCE, END = 1, 0
JOIN_SECONDS = 3600.0  # one machine may have to read its data first

_launch = ""  # once joined
_together = False  # is an update being made, by all processes at once?


@dataclass(frozen=True)
class Group:
    """The processes of one training.

    Attributes:
        rank: Which of them this is; 0 leads.
        world: How many they are.
        device: What this one computes on.
        launch: Names this launch of ``torchrun``, whose restarts belong to it, and no other.
    """

    rank: int
    world: int
    device: torch.device
    launch: str = ""

    def part(self, x: Tensor) -> Tensor:
        """Return this process's rows of ``[world · n, ...]``: ``[n, ...]``."""
        n = len(x) // self.world
        return x[self.rank * n : (self.rank + 1) * n]

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the mean of each tensor over all processes."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat / self.world, [tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within, ``global_mean`` is that over all processes: what a leader does alone is outside."""
        global _together
        _together = True
        try:
            with _losing_nobody():
                yield
        finally:
            _together = False

    def lead(self, what: int) -> None:
        """Tell the others what comes next: ADVANCE or END."""
        with _losing_nobody():
            dist.broadcast(torch.tensor(what, device=self.device), src=0)

    def share(self, text: str = "") -> str:
        """Return the leader's text, in every process."""
        with _losing_nobody():
            length = torch.tensor(len(text.encode()), device=self.device)
            dist.broadcast(length, src=0)
            letters = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
            if self.rank == 0:
                letters.copy_(torch.tensor(list(text.encode()), dtype=torch.uint8))
            dist.broadcast(letters, src=0)
        return bytes(letters.tolist()).decode()

    def gather(self, x: Tensor) -> list[Tensor]:
        """Return what each process has brought, on the CPU; all of one shape."""
        mine = x.to(self.device).contiguous()
        everyone = [torch.empty_like(mine) for _ in range(self.world)]
        with _losing_nobody():
            dist.all_gather(everyone, mine)
        return [each.cpu() for each in everyone]

    def follow(self) -> int:
        """Wait to be told."""
        told = torch.tensor(END, device=self.device)
        with _losing_nobody():
            dist.broadcast(told, src=0)
        return int(told)


def join(device: torch.device) -> Group | None:
    """Join the processes that ``torchrun`` started beside this one; None where it started none.

    Each takes the GPU of its local rank, where they train on GPUs.

    Raises:
        UserError: they cannot compute there.
        RunError: some of them did not come.
    """
    global _launch
    if not _beside_others():
        return None
    if device.type == "mps":
        raise UserError("--device mps: torch lets only one process compute there: use --device cpu")
    if device.type == "cuda":
        local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= there:
            raise UserError(
                f"--device cuda: {there} GPUs, and more processes: "
                f"use --nproc-per-node {there} or --device cpu"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        try:
            store, rank, world = next(rendezvous("env://", timeout=timedelta(seconds=JOIN_SECONDS)))
            _launch = store.compare_set("mulligan/launch", "", uuid.uuid4().hex).decode()
            fresh = _fresh(store, rank, world)
            backend = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, store=fresh, rank=rank, world_size=world)
        except (dist.DistError, ConnectionError) as error:
            raise RunError(f"the processes of this training did not meet: {first_line(error)}") from None
        atexit.register(_leave)
    return Group(dist.get_rank(), dist.get_world_size(), device, _launch)


def _beside_others() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def _leave() -> None:
    """Leave before the interpreter ends.

    A thread of the group that lets go of its last tensor only then aborts the process
    (pytorch/pytorch#179291); what it waits for is this one's lock.
    """
    dist.destroy_process_group()
    time.sleep(0.2)


def _fresh(store: Store, rank: int, world: int) -> Store:
    """Agree on a part of torchrun's store that nothing has been written to.

    torchrun keeps one store over all its restarts, and in it the addresses of the processes that have
    died (pytorch/pytorch#135712). Here each process asks under a name of its own, and the first
    answers whoever asks until all of them have heard it.
    """
    if rank > 0:
        name = uuid.uuid4().hex
        store.set(f"mulligan/asks/{rank}", name)
        corner = store.get(f"mulligan/{name}").decode()
        store.set(f"mulligan/{corner}/{rank}", "has heard")
        return PrefixStore(corner, store)
    corner = uuid.uuid4().hex
    deadline = time.monotonic() + JOIN_SECONDS
    while missing := [r for r in range(1, world) if not store.check([f"mulligan/{corner}/{r}"])]:
        if time.monotonic() > deadline:
            raise RunError(f"of {world} processes, {missing} did not come within {JOIN_SECONDS:.0f} s")
        for r in missing:
            if store.check([f"mulligan/asks/{r}"]):
                store.set(f"mulligan/{store.get(f'mulligan/asks/{r}').decode()}", corner)
        time.sleep(0.01)
    return PrefixStore(corner, store)


@contextmanager
def _losing_nobody() -> Iterator[None]:
    """Say in one line that another process has gone.

    Raises:
        RunError: it has.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):  # gloo has no error of its own
            raise RunError(
                f"process {dist.get_rank()}: another process of this training is gone; "
                "the last checkpoint is whole"
            ) from None
        raise


def spread(group: Group | None, pieces: int, make: Callable[[int], Tensor]) -> Iterator[Tensor]:
    """Make pieces 0..n-1, all of one shape, each in one process; every process gets all, in order."""
    if group is None:
        yield from map(make, range(pieces))
        return
    for first in range(0, pieces, group.world):
        made = group.gather(make(min(first + group.rank, pieces - 1)))
        yield from made[: pieces - first]


def leads() -> bool:
    """Tell whether this process leads, or is the only one."""
    return not _beside_others() or os.environ["RANK"] == "0"


def global_mean(x: Tensor, axes: list[int] | None = None) -> Tensor:
    """Mean of x, over ``axes`` or all of it; where an update is made together, over all processes.

    Differentiable: what other processes make of this one's part counts too.
    """
    mean = x.mean() if axes is None else x.mean(axes)
    if not _together:
        return mean
    total: Tensor = _Sum.apply(mean)  # type: ignore[no-untyped-call]
    return total / dist.get_world_size()


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of what all of them make of it."""

    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(gradient.contiguous())  # type: ignore[no-untyped-call]
        return total


class _Synchronised(_BatchNorm):
    """BatchNorm over the batch of all processes."""

    def forward(self, x: Tensor) -> Tensor:
        if not (_together and self.training):
            return super().forward(x)
        given, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
        axes = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        mean = global_mean(x, axes)
        variance = global_mean((x - mean.view(shape)).square(), axes)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            n = x.numel() / x.shape[1] * dist.get_world_size()
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((variance * n / (n - 1)).to(self.running_var.dtype), self.momentum)
        normal = (x - mean.view(shape)) * (variance.view(shape) + self.eps).rsqrt()
        return (normal * self.weight.view(shape) + self.bias.view(shape)).to(given)


class _Synchronised1d(_Synchronised, nn.BatchNorm1d):
    pass


class _Synchronised2d(_Synchronised, nn.BatchNorm2d):
    pass


_SYNCHRONISED: dict[type, type] = {nn.BatchNorm1d: _Synchronised1d, nn.BatchNorm2d: _Synchronised2d}


def synchronise(network: nn.Module) -> None:
    """Let every BatchNorm of a network see the batch of all processes."""
    for layer in network.modules():
        if type(layer) in _SYNCHRONISED:
            layer.__class__ = _SYNCHRONISED[type(layer)]
