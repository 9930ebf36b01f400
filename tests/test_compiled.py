"""The compiled update against the step as it is written."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mulligan import checkpoint, compiled, recipe, state, thin
from mulligan.checkpoint import Checkpoint
from mulligan.compiled import CannotCompile, Compiled, as_written
from mulligan.data.dataset import Dataset
from mulligan.graphs import Recorder
from mulligan.recipe import Recipe
from mulligan.state import State

CLASSES = 3
MLP = {"kind": "mlp", "hidden": [8]}
DCGAN = {"kind": "dcgan", "width": 4}
CURVE = {"images": [0, 30], "values": [0.5, 2.0]}


def images(n: int = 23) -> Dataset:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 1, 16, 16), dtype=np.uint8)
    return Dataset("noise", pixels, np.arange(n) % CLASSES, ("a", "b", "c"))


def a_recipe(**tables: Any) -> Recipe:
    usual = {
        "name": "test",
        "data": {"batch": 6, "last": "carry"},
        "latent": {"size": 5},
        "generator": MLP,
        "discriminator": MLP,
    }
    return recipe.from_dict(recipe.merge(usual, tables), "test")


def pair(chosen: Recipe, dataset: Dataset, record: Recorder | None = None) -> tuple[State, State]:
    """The same run twice, the second with its update written down, and recorded if there is a way to."""
    plain, traced = (state.begin(chosen, dataset, dtype=torch.float64) for _ in range(2))
    traced.compile(as_written, record)
    return plain, traced


def assert_same(a: State, b: State) -> None:
    ours, theirs = a.tensors(), b.tensors()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        difference = float((tensor.double() - theirs[name].double()).abs().max())
        assert difference < 1e-9, f"{name}: {difference}"


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "g-then-d": {"step": {"order": "g-then-d", "noise": "shared"}},
    "together": {"step": {"order": "together", "noise": "shared"}},
    "three turns of D": {
        "step": {"d_steps": 3},
        "objective": {"kind": "wasserstein"},
        "constraint": {"clip": 0.1},
    },
    "together, two turns of D": {"step": {"order": "together", "d_steps": 2}},
    "batchnorm": {"generator": {"norm": "batch"}, "discriminator": {"norm": "batch"}},
    "batchnorm, short batches": {"generator": {"norm": "batch"}, "data": {"last": "short"}},
    "average": {"ema": {"half_life": 20}},
    "average of batchnorm": {"ema": {"half_life": 20}, "generator": {"norm": "batch"}},
    "labels": {"condition": {"kind": "concat"}},
    "relativistic, r1, r2": {
        "generator": DCGAN,
        "discriminator": {**DCGAN, "norm": "none"},
        "objective": {"kind": "relativistic-paired"},
        "penalty": {"r1": CURVE, "r2": 1.0},
    },
    "relativistic average": {"objective": {"kind": "relativistic-average"}},
    "dragan": {"penalty": {"dragan": 5.0}},
    "wgan-gp": {"objective": {"kind": "wasserstein"}, "penalty": {"gradient_penalty": 10.0}},
    "spectral norm by projection": {
        "condition": {"kind": "projection"},
        "generator": DCGAN,
        "discriminator": {**DCGAN, "norm": "none", "spectral_norm": True},
        "objective": {"kind": "hinge"},
    },
    "augmented, noisy, packed": {
        "augment": {
            "policy": ["color", "translation", "cutout", "affine"],
            "noise": {**CURVE, "values": [0.2, 0.1]},
        },
        "step": {"pack": 2},
    },
    "minimax": {"objective": {"kind": "minimax"}},
    "two logits": {"objective": {"kind": "softmax", "d_scale": 0.5}, "step": {"order": "together"}},
    "least squares": {"objective": {"kind": "least-squares"}},
    "smoothed labels": {"objective": {"real_label": 0.9, "fake_label": 0.1}},
    "one-sided": {"objective": {"kind": "hinge"}, "penalty": {"one_sided_gradient_penalty": 1.0}},
    "curves of rates": {
        "optimizer": {
            "generator": {"lr": {"images": [0, 30], "values": [1e-2, 1e-3]}},
            "discriminator": {"lr": 1e-3, "beta1": 0.0, "beta2": {"images": [0, 30], "values": [0.9, 0.99]}},
        }
    },
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_written_down_is_what_the_step_does(case: str) -> None:
    plain, traced = pair(a_recipe(**CASES[case]), images())
    for _ in range(7):
        ours, theirs = plain.advance(), traced.advance()
        assert ours.images == theirs.images
        for mine, its in zip((ours.d, ours.g), (theirs.d, theirs.g), strict=True):
            torch.testing.assert_close(mine.loss, its.loss, rtol=0, atol=1e-9)
            torch.testing.assert_close(mine.fake_logits, its.fake_logits, rtol=0, atol=1e-9)
            assert (mine.real_logits is None) == (its.real_logits is None)
    assert plain.images == traced.images
    assert_same(plain, traced)


def test_compiling_draws_nothing_from_the_run() -> None:
    run = state.begin(a_recipe(data={"last": "short"}), images())
    for _ in range(3):
        run.advance()  # the next batch is a short one
    before = {name: tensor.clone() for name, tensor in run.stream.state().items()}
    run.compile(as_written)
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.stream.state().items())
    assert run.advance().images == 5


def go_on_from_a_checkpoint(plain: State, traced: State) -> None:
    """Make four updates of both, of the second the last two again, from where it was before them."""
    for run in (plain, traced):
        for _ in range(2):
            run.advance()
    saved = copy.deepcopy(traced.tensors())
    for run in (plain, traced):
        for _ in range(2):
            run.advance()
    meta = traced.meta().model_copy(update={"images": 12, "steps": 2})
    traced.restore(Checkpoint(Path("here"), saved, meta))
    for _ in range(2):
        traced.advance()


def test_a_restored_run_moves_its_own_tensors() -> None:
    plain, traced = pair(a_recipe(ema={"half_life": 20}), images())
    go_on_from_a_checkpoint(plain, traced)
    assert_same(plain, traced)


def test_the_first_checkpoint_of_a_compiled_run_can_be_gone_on_from(tmp_path: Path) -> None:
    plain, traced = pair(a_recipe(), images())
    saved = checkpoint.read(checkpoint.write(tmp_path, traced.tensors(), traced.meta()))
    plain.restore(saved)
    assert_same(plain, traced)


def test_no_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(compiled.SWITCH)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    run = state.begin(a_recipe(), images())
    with pytest.raises(CannotCompile, match="no C"):
        run.compile()
    assert run.compiled is None
    run.advance()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiler_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import compile_fx

    def fail(*_: object) -> None:
        raise RuntimeError("ld: cannot find -lm\nand more")

    monkeypatch.delenv(compiled.SWITCH)
    monkeypatch.setattr(compile_fx, "compile_fx", fail)
    run = state.begin(a_recipe(), images())
    with pytest.raises(CannotCompile, match=r"cannot find -lm$"):
        run.compile()


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="wants a C++ compiler")
def test_compiled_by_inductor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(compiled.SWITCH)
    chosen = a_recipe(**CASES["relativistic, r1, r2"], ema={"half_life": 20})
    plain, fast = (state.begin(chosen, images()) for _ in range(2))
    fast.compile()
    for _ in range(4):
        ours, theirs = plain.advance(), fast.advance()
        torch.testing.assert_close(ours.d.loss, theirs.d.loss, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.g.loss, theirs.g.loss, rtol=1e-4, atol=1e-4)
    assert isinstance(fast.compiled, Compiled)
    assert compiled.MEANS[0] in fast.gan.g_optimizer.state[next(fast.gan.generator.parameters())]


def test_gradients_that_lie_otherwise_in_memory_are_taken_as_they_are() -> None:
    """A penalty's second derivative is laid out otherwise; torch's fused Adam goes by memory."""
    run = state.begin(a_recipe(**CASES["relativistic, r1, r2"]), images(), dtype=torch.float64)
    turn = run.advance().d
    parameters = list(run.gan.discriminator.parameters())
    assert any(g.stride() != p.stride() for g, p in zip(turn.gradients, parameters, strict=True))
    beta1 = run.gan.d_optimizer.param_groups[0]["betas"][0]
    for gradient, parameter in zip(turn.gradients, parameters, strict=True):
        mean = run.gan.d_optimizer.state[parameter]["exp_avg"]
        torch.testing.assert_close(mean, (1 - beta1) * gradient, rtol=0, atol=1e-12)


def test_rows_that_were_taken_twice_are_added_up() -> None:
    """In an order of no thread's making: a compiler would add them up atomically."""
    table = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    rows, weight = torch.tensor([3, 0, 3, 3, 4]), torch.randn(5, 7, dtype=torch.float64)
    (expected,) = torch.autograd.grad((torch.nn.functional.embedding(rows, table) * weight).sum(), table)
    torch.testing.assert_close(thin.embedding_dense_backward(weight, rows, 5, -1, False), expected)
    assert thin.embedding_dense_backward(weight, rows, 5, 3, False) is NotImplemented


def test_no_update_adds_rows_in_an_order_of_chance() -> None:
    told = a_recipe(discriminator=DCGAN, generator=DCGAN, condition={"kind": "projection"})
    run = state.begin(told, images())
    seen: list[str] = []

    def look(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    run.compile(look)
    assert "aten.embedding.default" in seen
    assert not [name for name in seen if "embedding_dense_backward" in name or "index_put" in name]
