"""One update of everything that training moves, as one compiled function.

The step is run once on tensors without values. What it did is written down, operation by operation,
both networks' gradients and optimisers and the moving average included, and compiled as a whole. The
algorithm is that of ``step``, which knows nothing of this; a penalty's second derivative, which
``torch.compile`` by itself refuses, is by then an operation like any other.
"""

from __future__ import annotations

import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim import Optimizer

from mulligan import graphs, hardware, thin
from mulligan.ema import EMA
from mulligan.errors import first_line
from mulligan.files import user_cache
from mulligan.graphs import Flat, Recorder
from mulligan.step import GAN, Knobs, Source, Turn, Update, parameters

Compiler = Callable[[torch.fx.GraphModule, list[Tensor]], Flat]
SWITCH = "MULLIGAN_COMPILE"  # an environment variable: 0 keeps every update as it is written
MEANS = ("exp_avg", "exp_avg_sq")


class CannotCompile(Exception):
    """This machine cannot compile this update; it still runs as it is written."""


def inductor(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Flat:
    """Compile by torch's own compiler, which on a CPU goes through C++.

    Raises:
        CannotCompile: there is no C++ compiler, or it fails.
    """
    if os.environ.get(SWITCH) == "0":
        raise CannotCompile(f"{SWITCH} is 0")
    if inputs[0].device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise CannotCompile("there is no C++ compiler")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch's modules warn of each other
            # What was compiled once is found again; torch's own place for it does not outlive a restart.
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(user_cache() / "compiled"))
            from torch._inductor.compile_fx import compile_fx

            return cast(Flat, compile_fx(graph, inputs))
    except Exception as error:  # whatever a compiler may say
        raise CannotCompile(first_line(error)) from error


def as_written(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Flat:
    """Compile nothing: the operations one by one."""
    return graph


class Compiled:
    """Makes updates of one GAN, and of its moving average, for batches of one size.

    The tensors it moves are those of the networks, the optimisers and the average themselves: who
    reads them sees every update.

    Args:
        gan: The game; its optimisers are Adam.
        ema: The moving average, if there is one.
        source: Drawn from once, to see what an update draws.
        noisy: Will ``Knobs.noise`` ever be above 0?
        compiler: Makes a function of the graph.
        record: Makes one launch of it, where there is something to record with.

    Raises:
        CannotCompile: this machine cannot.
    """

    def __init__(
        self,
        gan: GAN,
        ema: EMA | None,
        source: Source,
        *,
        noisy: bool,
        compiler: Compiler = inductor,
        record: Recorder | None = None,
    ) -> None:
        self._gan, self._ema, self._noisy, self._images = gan, ema, noisy, 0
        self._networks = _Networks(gan, ema)
        self._sides = {"generator": (gan.g_optimizer, 1), "discriminator": (gan.d_optimizer, gan.d_steps)}
        self.bind()
        drawn: list[Tensor] = []
        self._draws: list[tuple[str, tuple[int, ...]]] = []
        scalars = self._scalars(None)
        # A GPU's gradients are otherwise taken in another thread, which knows nothing of tracing
        with torch.autograd.set_multithreading_enabled(False), FakeTensorMode() as mode:

            def scout(method: str, arguments: tuple[int, ...]) -> list[Tensor]:
                with unset_fake_temporarily():
                    found = _draw(source, method, arguments)
                self._draws.append((method, arguments))
                drawn.extend(found)
                return [mode.from_tensor(tensor) for tensor in found]

            fakes = [mode.from_tensor(tensor) for tensor in [*self._tensors, scalars]]
            self._images = self._update(fakes[:-1], _Tapped(scout), fakes[-1]).images
        sizes = {"reals": len(_draw(source, "reals", ())), "latents": 1, "uniform": 1, "normal": 1}
        inputs, moved = [*self._tensors, *drawn, scalars], len(self._tensors)

        def flat(*inputs: Tensor) -> list[Tensor]:
            rest = iter(inputs[moved:-1])
            play = _Tapped(lambda method, _: [next(rest) for _ in range(sizes[method])])
            update = self._update(inputs[:moved], play, inputs[-1])
            d, g = update.d, update.g
            logits = (d.real_logits, d.fake_logits, g.fake_logits, g.real_logits)
            return [update.health, d.loss, g.loss, *(x for x in logits if x is not None)]

        # A processor's library is bad at thin products, a GPU's is not
        table = {**thin.STEADY, **(thin.TABLE if scalars.device.type == "cpu" else {})}
        with torch.autograd.set_multithreading_enabled(False):
            graph = make_fx(flat, table, tracing_mode="fake")(*inputs)
        self._compiled = compiler(graph, inputs)
        if record:
            with torch.no_grad():
                captured = graphs.Captured(self._compiled, self._parts, record)
                captured.prepare(*inputs)
            if captured.failed:
                raise CannotCompile(captured.failed)
            self._compiled = captured

    def bind(self) -> None:
        """Look anew for the tensors to move: an optimiser that was restored has others."""
        tensors = {**dict(self._networks.named_parameters()), **dict(self._networks.named_buffers())}
        self._names = tuple(tensors)
        buffers = dict(self._networks.named_buffers())
        self._parts = [name.partition(".")[0] if name not in buffers else "buffers" for name in tensors]
        self._trained = {name for name, p in self._networks.named_parameters() if p.requires_grad}
        self._counts = {}
        for side, (optimizer, _) in self._sides.items():
            for parameter in parameters(optimizer):
                if not optimizer.state[parameter]:  # what Adam itself makes at its first step
                    optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device)} | {
                        name: torch.zeros_like(parameter, requires_grad=False) for name in MEANS
                    }
            entries = [optimizer.state[parameter] for parameter in parameters(optimizer)]
            self._counts[side] = [entry["step"] for entry in entries]
            for name in MEANS:
                tensors |= {f"{side}/{i}/{name}": entry[name] for i, entry in enumerate(entries)}
                self._parts += [f"{side}/{name}"] * len(entries)
        self._tensors = [tensor.detach() for tensor in tensors.values()]
        self.count()

    def count(self) -> None:
        """Ask both optimisers how often they have moved; only after a step of their own, for asking waits."""
        self._made = {side: int(counts[0]) for side, counts in self._counts.items()}

    def __call__(self, source: Source, knobs: Knobs) -> Update:
        """Make one update; the optimisers' rates are those of the moment, as in ``GAN.step``."""
        drawn = [tensor for draw in self._draws for tensor in _draw(source, *draw)]
        with torch.no_grad():
            results = self._compiled(*self._tensors, *drawn, self._scalars(knobs))
        for side, (_, steps) in self._sides.items():
            torch._foreach_add_(self._counts[side], steps)
            self._made[side] += steps
        health, d_loss, g_loss, d_real, d_fake, g_fake, *g_real = results
        d = Turn(d_loss, (), d_real, d_fake)
        g = Turn(g_loss, (), g_real[0] if g_real else None, g_fake)
        return Update(d, g, self._images, health)

    def _update(self, tensors: Sequence[Tensor], source: Source, scalars: Tensor) -> Update:
        """Run the step with ``tensors`` in the place of those it moves."""
        placed = {
            name: tensor.detach().requires_grad_() if name in self._trained else tensor
            for name, tensor in zip(self._names, tensors, strict=False)
        }
        moments = iter(tensors[len(placed) :])
        values = iter(scalars.unbind())

        def run() -> Update:
            gan = self._gan
            stand_ins = {}
            for side, (optimizer, steps) in self._sides.items():
                parameters = list(getattr(gan, side).parameters())
                means, squares = ([next(moments) for _ in parameters] for _ in MEANS)
                rates = [tuple(next(values) for _ in range(4)) for _ in range(steps)]
                stand_ins[side] = _Adam(optimizer, parameters, means, squares, rates)
            gammas = tuple(next(values) for _ in gan.penalties)
            noise, weight = values
            knobs = Knobs(gammas, noise if self._noisy else 0.0)
            g, d = (cast(Optimizer, stand_ins[side]) for side in self._sides)
            update = replace(gan, g_optimizer=g, d_optimizer=d).step(source, knobs)
            if self._ema:
                self._ema.update(gan.generator, weight)
            return update

        made: Update = torch.func.functional_call(self._networks, placed, (run,))
        return made

    def _scalars(self, knobs: Knobs | None) -> Tensor:
        """All numbers of the moment, as one tensor: both optimisers' rates, every γ, noise, the average's."""
        knobs = knobs or Knobs((0.0,) * len(self._gan.penalties))
        values = [rate for side in self._sides for rate in self._rates(side)]
        values += [float(gamma) for gamma in knobs.gammas] + [float(knobs.noise)]
        values.append(self._ema.weight(self._images) if self._ema else 0.0)
        return hardware.send(torch.tensor(values, dtype=self._tensors[0].dtype), self._tensors[0].device)

    def _rates(self, side: str) -> Iterator[float]:
        """What Adam makes of its rates at each of its next steps, in double precision as it does."""
        optimizer, steps = self._sides[side]
        group, before = optimizer.param_groups[0], self._made[side]
        beta1, beta2 = group["betas"]
        for t in range(before + 1, before + 1 + steps):
            yield from (group["lr"] / (1 - beta1**t), math.sqrt(1 - beta2**t), beta2, 1 - beta2)


class _Networks(nn.Module):
    """All networks together, so that their tensors can be exchanged at once."""

    def __init__(self, gan: GAN, ema: EMA | None) -> None:
        super().__init__()
        self.generator, self.discriminator = gan.generator, gan.discriminator
        self.average = ema.generator if ema else None

    def forward(self, run: Callable[[], Update]) -> Update:
        return run()


class _Adam:
    """torch's Adam for tensors without values: the same arithmetic, on rates that are tensors.

    Kingma and Ba 2015, arXiv 1412.6980, Algorithm 1, in the form of ``torch.optim.Adam``.
    """

    def __init__(
        self,
        like: Optimizer,
        parameters: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        rates: list[tuple[Tensor, ...]],
    ) -> None:
        self.param_groups = [{"params": parameters}]
        self.beta1, self.eps = like.param_groups[0]["betas"][0], like.param_groups[0]["eps"]
        self.means, self.squares, self.rates = means, squares, rates  # rates: for each step to come

    @torch.no_grad()
    def step(self) -> None:
        size, root, beta2, rest = self.rates.pop(0)
        for p, mean, square in zip(self.param_groups[0]["params"], self.means, self.squares, strict=True):
            assert p.grad is not None
            mean.lerp_(p.grad, 1 - self.beta1)
            square.mul_(beta2).add_(p.grad * p.grad * rest)
            p.sub_(size * mean / (square.sqrt() / root + self.eps))

    def zero_grad(self, set_to_none: bool = True) -> None:
        for p in self.param_groups[0]["params"]:
            p.grad = None


class _Tapped:
    """A source whose every draw goes through one function of a method's name and arguments."""

    def __init__(self, take: Callable[[str, tuple[int, ...]], list[Tensor]]) -> None:
        self._take = take

    def reals(self) -> tuple[Tensor, Tensor | None]:
        real, *labels = self._take("reals", ())
        return real, labels[0] if labels else None

    def latents(self, n: int) -> Tensor:
        return self._take("latents", (n,))[0]

    def uniform(self, *shape: int) -> Tensor:
        return self._take("uniform", shape)[0]

    def normal(self, *shape: int) -> Tensor:
        return self._take("normal", shape)[0]


def _draw(source: Source, method: str, arguments: tuple[int, ...]) -> list[Tensor]:
    drawn = getattr(source, method)(*arguments)
    return [x for x in drawn if x is not None] if isinstance(drawn, tuple) else [drawn]
