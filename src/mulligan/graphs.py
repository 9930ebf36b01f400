"""An update as one launch: a CUDA graph, fed through tensors that lie still.

A GPU is done with a small operation before Python has started the next. A graph is all the operations of
an update, recorded once and then started together. What it does is compared with what was to be recorded,
and where it cannot be recorded, or does not do the same, the operations are started one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mulligan.errors import first_line

Flat = Callable[..., Sequence[Tensor]]  # tensors, one after the other -> tensors
Replay = Callable[[], object]
Recorder = Callable[[Callable[[], Sequence[Tensor]]], tuple[Sequence[Tensor], Replay]]
WARM_UPS = 3  # calls before a recording, in which libraries choose their kernels and take their memory
SAME = 0.1  # of an update: two orders of a sum, at Adam's first step, may differ by a part of it


def cuda(function: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], Replay]:
    """Record a function's launches; return where its results will lie, and what makes them anew."""
    aside, here = torch.cuda.Stream(), torch.cuda.current_stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            function()
    here.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            results = function()
    finally:
        torch.cuda.set_stream(here)  # which a recording that fails does not come back to
    return results, graph.replay


class Captured:
    """Does what a function does, by replaying one recording of it.

    Args:
        flat: Takes tensors and returns tensors; draws nothing, and never waits for its device.
        parts: For each of the first tensors that it takes, and changes where they lie, what it is a part of.
            Each part must be moved by a replay as by the function. Where they come from other places than
            before, the function is recorded anew; all other tensors are copied to where the recording reads.
        record: Makes a recording.

    Attributes:
        failed: Why there is no recording, else empty; then ``flat`` is called itself.
    """

    def __init__(self, flat: Flat, parts: Sequence[str], record: Recorder = cuda) -> None:
        self._flat, self._parts, self._record = flat, parts, record
        self._addresses: list[int] = []
        self._replay: Replay | None = None
        self._fed: list[Tensor] = []
        self._results: Sequence[Tensor] = ()
        self.failed = ""

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """Return the results, which the next call will write over."""
        self.prepare(*inputs)
        if self._replay is None:
            return self._flat(*inputs)
        torch._foreach_copy_(self._fed, list(inputs[len(self._parts) :]))
        self._replay()
        return self._results

    def prepare(self, *inputs: Tensor) -> None:
        """Record, unless there is a recording for what is moved; nothing has moved afterwards."""
        addresses = [tensor.data_ptr() for tensor in inputs[: len(self._parts)]]
        if addresses != self._addresses and not self.failed:
            self._capture(inputs[: len(self._parts)], inputs[len(self._parts) :])
            self._addresses = addresses

    def _capture(self, moved: Sequence[Tensor], fed: Sequence[Tensor]) -> None:
        """Record the function, and leave what it moves as it was."""
        self._replay, self._results = None, ()  # an older recording gives its memory back first
        before = [tensor.clone() for tensor in moved]

        def put_back() -> None:
            torch._foreach_copy_(list(moved), before)

        try:
            expected = [tensor.clone() for tensor in self._flat(*moved, *fed)]
            after = [tensor.clone() for tensor in moved]
            self._fed = [tensor.clone() for tensor in fed]
            results, replay = self._record(lambda: self._flat(*moved, *self._fed))
            put_back()
            replay()
            if self._same(before, after, moved) and _distance(results, expected) <= SAME * _size(expected):
                self._results, self._replay = results, replay
            else:
                self.failed = "a recorded update is not what it was recorded from"
        except Exception as error:  # whatever a driver may say
            self.failed = first_line(error)
        finally:
            put_back()

    def _same(self, before: Sequence[Tensor], after: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
        """Tell whether every part has been moved alike; what is not a number is alike to nothing."""
        for part in set(self._parts):
            own = [i for i, name in enumerate(self._parts) if name == part]
            was, meant, is_now = ([tensors[i] for i in own] for tensors in (before, after, found))
            if not _distance(is_now, meant) <= SAME * _distance(meant, was):
                return False
        return True


def _distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return _size([x.double() - y.double() for x, y in zip(a, b, strict=True)])


def _size(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors))
