"""What conditional networks are told: classes that a caller asks for, and unseen parts of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mulligan
from mulligan import archive, build, checkpoint, recipe, state
from mulligan.conditions import Conditions
from mulligan.data import Dataset, parts, read_digits
from mulligan.data.parts import divide, divide_pieces
from mulligan.errors import UserError
from support import same

DIGITS_IN_20 = "a4c086bd8e7df9c3"
IN_PIECES = ("condition.labels=false", "condition.clusters=4")
QUARTERS = "condition.pieces=quarters"
QUICK = ("data.batch=8", "generator.width=2", "discriminator.width=2")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return read_digits()


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Parts ------------------------------------------------------------------------------------------


def test_images_that_look_alike_are_one_part() -> None:
    """Four flat greys with a little noise, in three colours and an odd size, are the four parts."""
    noise = np.random.default_rng(0)
    grey = noise.integers(4, size=400)
    images = (40 + 60 * grey)[:, None, None, None] + noise.integers(-9, 10, (400, 3, 21, 19))
    found, parts = divide(images.astype(np.uint8), None, 0, 8, 50)
    pairs = Counter(zip(grey.tolist(), found.tolist(), strict=True))
    assert len(parts) == 1
    assert sum(parts[0]) == 400
    assert len({part for _, part in pairs}) == len(pairs)  # no part has two greys
    assert (np.bincount(found) == parts[0]).all()


def test_points_are_divided_too() -> None:
    noise = np.random.default_rng(0)
    side = noise.integers(2, size=200)
    points = (side[:, None] * 4 - 2 + 0.1 * noise.standard_normal((200, 2))).astype(np.float32)
    found, _ = divide(points[:, :, None, None], None, 0, 2, 50)
    assert (found == side).all() or (found == 1 - side).all()


@given(
    n=st.integers(1, 300),
    classes=st.integers(1, 4),
    parts=st.integers(0, 9),
    smallest=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_every_image_has_a_part_of_its_own_class(
    n: int, classes: int, parts: int, smallest: int, seed: int
) -> None:
    noise = np.random.default_rng(seed)
    images = noise.integers(0, 256, (n, 1, 8, 8), np.uint8)
    labels = noise.integers(classes, size=n)
    found, sizes = divide(images, labels, classes, parts, smallest)
    assert len(sizes) == classes
    class_of = np.repeat(np.arange(classes), [len(size) for size in sizes])
    assert (class_of[found] == labels).all()
    assert (np.bincount(found, minlength=len(class_of)) == np.concatenate(sizes)).all()
    for k, size in enumerate(sizes):
        assert len(size) <= max(1, parts)
        assert len(size) <= max(1, (labels == k).sum() // smallest)


def test_parts_are_the_same_everywhere_and_always(digits: Dataset) -> None:
    """Checkpoints number them. Sums are exact, so that their order, a matter of threads, is none."""
    found, _ = divide(digits.images, None, 0, 20, 50)
    mirrored, _ = divide(digits.images[:, :, ::-1, ::-1], None, 0, 20, 50)
    assert (found == mirrored).all()
    assert len(set(found.tolist())) == 20
    assert hashlib.sha256(found.tobytes()).hexdigest().startswith(DIGITS_IN_20)


def test_channels_are_divided_each_by_itself() -> None:
    """Two patterns in one channel and three in another, in every combination, are five parts, not six."""
    noise = np.random.default_rng(0)
    kinds = np.stack([noise.integers(2, size=300), noise.integers(3, size=300)], axis=1)
    images = 80 * kinds[:, :, None, None] + noise.integers(0, 9, (300, 2, 8, 8))
    found, sizes = divide_pieces(images.astype(np.uint8), None, 0, "channels", 3, 50)
    assert len(sizes) == 2
    assert [sum(of_channel) for of_channel in sizes] == [300, 300]
    assert (np.bincount(found.ravel()) == np.concatenate(sizes)).all()
    assert found[:, 0].max() < found[:, 1].min()
    for channel in range(2):
        alone, _ = divide(images[:, channel : channel + 1].astype(np.uint8), None, 1, 3, 50)
        assert (found[:, channel] - found[:, channel].min() == alone).all()
    pairs = set(zip(kinds[:, 1].tolist(), found[:, 1].tolist(), strict=True))
    assert len(pairs) == len({part for _, part in pairs})  # no part has two patterns


def test_quarters_of_an_odd_size_are_divided_each_by_itself() -> None:
    noise = np.random.default_rng(0)
    kinds = noise.integers(2, size=(300, 4))
    images = noise.integers(0, 9, (300, 3, 9, 7))
    for piece, (down, across) in enumerate([(slice(4), slice(3)), (slice(4), slice(3, 7))]):
        images[:, :, down, across] += 90 * kinds[:, piece, None, None, None]
    for piece, across in ((2, slice(3)), (3, slice(3, 7))):
        images[:, :, 4:, across] += 90 * kinds[:, piece, None, None, None]
    found, sizes = divide_pieces(images.astype(np.uint8), None, 0, "quarters", 2, 50)
    assert [len(of_piece) for of_piece in sizes] == [2, 2, 2, 2]
    for piece in range(4):
        own = found[:, piece] - 2 * piece
        assert (own == kinds[:, piece]).all() or (own == 1 - kinds[:, piece]).all()


def test_a_pyramid_is_the_whole_and_its_quarters(digits: Dataset) -> None:
    found, sizes = divide_pieces(digits.images, None, 0, "pyramid", 4, 50)
    whole, (of_whole,) = divide(digits.images, None, 0, 4, 50)
    quarters, of_quarters = divide_pieces(digits.images, None, 0, "quarters", 4, 50)
    assert (found == np.column_stack([whole, quarters + 4])).all()
    assert sizes == (of_whole, *of_quarters)


@pytest.mark.parametrize("parts", [40, 20, 19, 9])
def test_a_pyramid_divides_whole_images_of_a_class_by_themselves(parts: int, digits: Dataset) -> None:
    """Of a class's share, where that is two or more; a share of one would tell of the class once more."""
    found, sizes = divide_pieces(digits.images, digits.labels, 10, "pyramid", parts, 20)
    of_class = divide(digits.images, digits.labels, 10, parts // 10, 20)[0]
    of_any = divide(digits.images, None, 10, parts, 20)[0]
    quarters, of_quarters = divide_pieces(digits.images, None, 0, "quarters", parts, 20)
    assert (found[:, 0] == digits.labels).all()
    assert (found[:, 1] == 10 + (of_any if parts < 20 else of_class)).all()
    assert (found[:, 2:] == 10 + len(sizes[1]) + quarters).all()
    assert sizes[2:] == of_quarters
    assert len(sizes[1]) <= parts
    assert (np.bincount(found.ravel()) == np.concatenate(sizes)).all()


def test_the_only_channel_is_the_whole_image(digits: Dataset) -> None:
    found, _ = divide_pieces(digits.images, digits.labels, 10, "channels", 40, 20)
    assert (found[:, 1] == 10 + divide(digits.images, digits.labels, 10, 4, 20)[0]).all()


def test_a_class_without_images_has_no_share(digits: Dataset, tmp_path: Path) -> None:
    assert digits.labels is not None
    two = np.flatnonzero(digits.labels % 5 == 1)
    some = Dataset("some", digits.images[two], digits.labels[two], digits.class_names)
    _, sizes = divide_pieces(some.images, some.labels, 10, "pyramid", 20, 5)
    assert [len(of_piece) for of_piece in sizes] == [10, 20, 20, 20, 20, 20]
    assert all(sizes[1])
    told = ("condition.pieces=pyramid", "condition.clusters=20", "condition.smallest=5")
    assert (mulligan.load(conditional(tmp_path / "run", some, *told)).sample(1, labels=[6]) >= 0).all()


def test_points_and_lines_have_no_quarters(digits: Dataset) -> None:
    noise = np.random.default_rng(0)
    points: Any = noise.random((200, 2, 1, 1), np.float32)
    with pytest.raises(UserError, match="is of points, which have no quarters"):
        state.begin(recipe.read("points", ("condition.pieces=quarters",)), Dataset("points", points))
    lines = Dataset("lines", digits.images[:, :, :1, :8].copy())
    told = recipe.read("mlp-relu", ("condition.kind=projection", *IN_PIECES, QUARTERS))
    with pytest.raises(UserError, match="is of images of 1×8, which have no quarters"):
        state.begin(told, lines)


# What is told -----------------------------------------------------------------------------------


def test_parts_are_drawn_as_often_as_the_data_has_them() -> None:
    conditions = Conditions(((10, 30), (5,), (0, 8, 2)))
    assert (conditions.total, conditions.classes) == (6, 3)
    labels = conditions.labels(30_000)
    told = conditions.told(labels, 30_000, rng())
    assert told is not None
    shares = torch.bincount(told, minlength=6) / 10_000
    assert shares.tolist() == pytest.approx([0.25, 0.75, 1, 0, 0.8, 0.2], abs=0.02)


def test_what_is_told_of_an_image_does_not_depend_on_how_many_there_are() -> None:
    conditions = Conditions(((3, 1, 4, 1, 5),), named=False)
    assert conditions.labels(3) is None
    many = conditions.told(None, 256, rng())
    assert many is not None
    for n in (1, 7, 255):
        few = conditions.told(None, n, rng())
        assert few is not None
        assert torch.equal(few, many[:n])


def test_parts_of_channels_are_drawn_together_as_the_data_has_them() -> None:
    joint = torch.tensor([[0, 2], [0, 2], [1, 3], [1, 4]])
    conditions = Conditions(((2, 2), (2, 1, 1)), named=False, joint=joint)
    told = conditions.told(None, 20_000, rng())
    assert told is not None
    drawn = Counter(map(tuple, told.tolist()))
    assert {pair: count / 20_000 for pair, count in drawn.items()} == {
        (0, 2): pytest.approx(0.5, abs=0.02),
        (1, 3): pytest.approx(0.25, abs=0.02),
        (1, 4): pytest.approx(0.25, abs=0.02),
    }
    few = conditions.told(None, 7, rng())
    assert few is not None
    assert torch.equal(few, told[:7])


def test_the_pieces_of_a_class_are_drawn_as_its_images_have_them() -> None:
    """The class is one more piece, the first; one of no image cannot be asked for."""
    rows = torch.tensor([[0, 3, 6], [2, 4, 5], [0, 3, 6], [2, 4, 6], [0, 4, 5]])
    conditions = Conditions(((3, 0, 2), (2, 3), (2, 3)), joint=rows)
    assert (conditions.classes, conditions.total) == (3, 7)
    unasked = conditions.labels(5)
    assert unasked is not None
    assert unasked.tolist() == [0, 2, 0, 2, 0]
    assert "1 of 3 classes have no image" in conditions.note
    with pytest.raises(UserError, match="no image of class 1"):
        conditions.labels(1, [1])
    asked = np.resize(np.array([2, 0, 0]), 30_000)
    told = conditions.told(asked, 30_000, rng())
    assert told is not None
    drawn = Counter(map(tuple, told.tolist()))
    assert {row: count / 10_000 for row, count in drawn.items()} == {
        (2, 4, 5): pytest.approx(0.5, abs=0.02),
        (2, 4, 6): pytest.approx(0.5, abs=0.02),
        (0, 3, 6): pytest.approx(4 / 3, abs=0.03),
        (0, 4, 5): pytest.approx(2 / 3, abs=0.03),
    }
    assert (told[:, 0].numpy() == asked).all()
    few = conditions.told(asked[:7], 7, rng())
    assert few is not None
    assert torch.equal(few, told[:7])


def test_what_is_told_can_be_said() -> None:
    assert str(Conditions(((1,), (1,)))) == "2 classes"
    assert str(Conditions(((1, 2), (1,)))) == "2 classes, in 3 groups of look-alikes"
    assert str(Conditions(((1, 2),), named=False)) == "2 groups of look-alikes"
    by_channel = Conditions(((1, 2), (3,)), named=False, joint=torch.zeros(3, 2))
    assert str(by_channel) == "3 groups of look-alikes, of 2 pieces of an image"
    and_class = Conditions(((2, 1), (1, 2)), joint=torch.tensor([[0, 2], [0, 3], [1, 3]]))
    assert str(and_class) == "2 classes and 2 groups of look-alikes, of 1 piece of an image"


def test_a_class_without_an_image_can_still_be_asked_for() -> None:
    told = Conditions(((4, 4), (0,))).told(np.array([1, 1]), 2, rng())
    assert told is not None
    assert told.tolist() == [2, 2]


def test_nothing_is_told_to_an_unconditional_generator() -> None:
    assert Conditions().told(None, 4, rng()) is None


# In a run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "classes", "total"),
    [
        (["condition.labels=false", "condition.clusters=12"], 0, 12),
        (["condition.clusters=3"], 10, 30),
        ([], 10, 10),
    ],
)
def test_a_run_is_drawn_from_as_it_was_trained(
    overrides: list[str], classes: int, total: int, digits: Dataset, tmp_path: Path
) -> None:
    run = mulligan.train(
        "relativistic-r1r2",
        data=digits,
        steps=2,
        out=tmp_path / "run",
        overrides=("condition.kind=projection", *QUICK, *overrides),
    )
    model = mulligan.load(run.directory)
    assert model.sampler.conditions.classes == classes
    assert model.sampler.conditions.total == total
    many = model.sample(300, seed=3)
    assert (model.sample(258, seed=3) == many[:258]).all()
    walk = model.interpolate(3, seed=3)
    if not classes:
        assert (walk[::3] == many[:8]).all()
        with pytest.raises(UserError, match=r"condition\.labels false"):
            model.sample(3, labels=[1])
    else:
        assert (walk[::3] == model.sample(8, seed=3, labels=[0])).all()
        assert (model.sample(20, seed=3)[10] == model.sample(20, seed=3, labels=[0])[10]).all()


def test_a_set_without_labels_has_clusters(digits: Dataset) -> None:
    bare = Dataset("bare", digits.images)
    told = state.begin(recipe.read("swift", QUICK), bare).about_data.parts
    assert [len(sizes) for sizes in told] == [len(digits) // 50]
    with pytest.raises(UserError, match="needs labels"):
        state.begin(recipe.read("swift-class", QUICK), bare)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["condition.clusters=5"], "clusters are for networks that are told of them"),
        (["condition.kind=projection", "condition.labels=false"], "no clusters to tell of"),
        (["condition.kind=concat", "condition.clusters=1001"], "condition.clusters"),
        (["condition.kind=projection", "condition.pieces=channels"], "into clusters: use clusters 100"),
        (
            ["condition.pieces=quarters"],
            "'quarters' are divided into clusters: use kind 'projection' and clusters",
        ),
    ],
)
def test_conditions_that_mean_nothing_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as refusal:
        recipe.read("relativistic-r1r2", overrides)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_can_begin(name: str, digits: Dataset) -> None:
    drawn: Any = np.random.default_rng(0).random((200, 2, 1, 1), np.float32)
    points = Dataset("points", drawn)
    run = state.begin(recipe.read(name), points if name == "points" else digits)
    wanted = {
        "swift": 35,
        "grand": 5 * 35,
        "swift-class": 30,
        "grand-class": 10 + 30 + 4 * 35,
        "points": 4,
        "conditional": 10,
    }
    assert sum(map(len, run.about_data.parts)) == wanted.get(name, 0)


def in_header(path: Path, parts: list[list[int]]) -> None:
    saved = checkpoint.read(path)
    about = saved.meta.data.model_copy(update={"parts": tuple(map(tuple, parts))})
    meta = saved.meta.model_copy(update={"data": about})
    archive.write(path, saved.tensors, checkpoint.header_of(meta))


def conditional(out: Path, digits: Dataset, *overrides: str) -> Path:
    told = ("condition.kind=projection", *QUICK, *overrides)
    return mulligan.train("relativistic-r1r2", data=digits, steps=2, out=out, overrides=told).directory


def test_a_checkpoint_from_before_there_were_parts_draws_as_ever(digits: Dataset, tmp_path: Path) -> None:
    run = conditional(tmp_path / "run", digits)
    before = mulligan.load(run).sample(20)
    in_header(checkpoint.find(run), [])
    assert (mulligan.load(run).sample(20) == before).all()


@pytest.mark.parametrize("parts", [[], [[4]] * 10, [[4, 4], [4]], [[1] * 13]])
def test_a_header_that_contradicts_its_recipe_is_refused(
    parts: list[list[int]], digits: Dataset, tmp_path: Path
) -> None:
    run = conditional(tmp_path / "run", digits, "condition.labels=false", "condition.clusters=12")
    in_header(checkpoint.find(run), parts)
    with pytest.raises(UserError, match="its header is wrong"):
        mulligan.load(run)


def resumed(folder: Path, images: Dataset, *told: str) -> Path:
    """Return a run that was resumed twice and came to the same, bit for bit, as one resumed once."""
    whole, half = (conditional(folder / name, images, *told) for name in ("whole", "half"))
    mulligan.resume(whole, images=64, data=images)
    mulligan.resume(half, images=32, data=images)
    mulligan.resume(half, images=64, data=images)
    assert same(*(dict(checkpoint.read(checkpoint.find(run)).tensors) for run in (whole, half)))
    return half


def test_a_run_of_groups_goes_on_bit_for_bit(digits: Dataset, tmp_path: Path) -> None:
    resumed(tmp_path, digits, "condition.labels=false", "condition.clusters=12")


def test_groups_that_come_out_otherwise_are_noticed(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = conditional(tmp_path / "run", digits, "condition.labels=false", "condition.clusters=12")
    monkeypatch.setattr(parts, "ROUNDS", 1)
    with pytest.raises(UserError, match="come out otherwise now: --accept-changes"):
        mulligan.resume(run, images=64, data=digits)


# In pieces --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coloured(digits: Dataset) -> Dataset:
    """Three unrelated digits as the colours of each image."""
    rng = np.random.default_rng(0)
    others = [digits.images[rng.permutation(len(digits))] for _ in range(2)]
    return Dataset("coloured", np.concatenate([digits.images, *others], axis=1))


@pytest.mark.parametrize(
    ("kind", "pieces", "count"),
    [("projection", "channels", 3), ("concat", "quarters", 4), ("projection", "pyramid", 5)],
)
def test_a_run_of_pieces_goes_on_and_is_drawn_from_as_it_was_trained(
    kind: str,
    pieces: Literal["channels", "quarters", "pyramid"],
    count: int,
    coloured: Dataset,
    tmp_path: Path,
) -> None:
    told = (f"condition.kind={kind}", *IN_PIECES, f"condition.pieces={pieces}")
    model = mulligan.load(resumed(tmp_path, coloured, *told))
    joint = model.sampler.conditions.joint
    assert joint is not None
    assert (joint.numpy() == divide_pieces(coloured.images, None, 0, pieces, 4, 50)[0]).all()
    assert model.sampler.conditions.total == 4 * count
    many = model.sample(300, seed=3)
    assert (model.sample(258, seed=3) == many[:258]).all()
    assert (model.interpolate(3, seed=3)[::3] == many[:8]).all()


def test_a_run_of_classes_and_pieces_is_asked_for_a_class(digits: Dataset, tmp_path: Path) -> None:
    told = ("condition.kind=projection", "condition.clusters=4", QUARTERS)
    model = mulligan.load(resumed(tmp_path, digits, *told))
    known = model.sampler.conditions
    assert (known.classes, known.total) == (10, 10 + 4 * 4)
    assert known.joint is not None
    assert (known.joint[:, 0].numpy() == digits.labels).all()
    found, _ = divide_pieces(digits.images, None, 0, "quarters", 4, 50)
    assert (known.joint[:, 1:].numpy() - 10 == found).all()
    many = model.sample(300, seed=3)
    assert (model.sample(258, seed=3) == many[:258]).all()
    assert (model.sample(20, seed=3)[10] == model.sample(20, seed=3, labels=[0])[10]).all()
    assert (model.interpolate(3, seed=3, label=4)[::3] == model.sample(8, seed=3, labels=[4])).all()
    with pytest.raises(UserError, match=r"expected 0\.\.9, got 10"):
        model.sample(3, labels=[10])


def test_a_discriminator_adds_up_what_it_is_told() -> None:
    """⟨e(y₁) + e(y₂), φ(x)⟩, and one label of two shapes is the same."""
    table = recipe.read("relativistic-r1r2", ("condition.kind=projection", *QUICK))
    judge = build.discriminator(table, (1, 28, 28), 1, 5)
    x, y = torch.randn(3, 1, 28, 28, generator=rng()), torch.tensor([[0, 3], [1, 4], [2, 3]])
    with torch.no_grad():
        both, apart = judge(x, y), judge(x, y[:, 0]) + judge(x, y[:, 1])
        assert torch.equal(judge(x, y[:, :1]), judge(x, y[:, 0]))
        judge.get_parameter("class_head.weight").zero_()
        assert torch.allclose(both + judge(x, y), apart, atol=1e-5)


@pytest.mark.parametrize(
    "joint",
    [
        None,
        torch.zeros(0, 3).long(),
        torch.zeros(5, 3).short(),
        torch.tensor([[0, 9, 8]]),
        torch.tensor([[0, 4]]),
        torch.tensor([[0, 4, 8, 12]]),
        torch.tensor([[0, 4, 8]]),  # not as many images as there are
        torch.tensor([[4, 0, 8]]),
        torch.tensor([[-1, 4, 8]]),
        torch.tensor([[0, 2**62, 8]]),
    ],
)
def test_a_table_that_contradicts_its_recipe_is_refused(
    joint: torch.Tensor | None, coloured: Dataset, tmp_path: Path
) -> None:
    path = checkpoint.find(conditional(tmp_path / "run", coloured, *IN_PIECES, "condition.pieces=channels"))
    saved = checkpoint.read(path)
    tensors = {name: tensor for name, tensor in saved.tensors.items() if name != "conditions.joint"}
    if joint is not None:
        tensors["conditions.joint"] = joint
    archive.write(path, tensors, checkpoint.header_of(saved.meta))
    with pytest.raises(UserError, match="its header is wrong"):
        mulligan.load(path)


def test_a_table_of_classes_and_pieces_that_contradicts_its_recipe_is_refused(
    digits: Dataset, tmp_path: Path
) -> None:
    path = checkpoint.find(conditional(tmp_path / "run", digits, QUARTERS, "condition.clusters=4"))
    saved = checkpoint.read(path)
    meta, joint = saved.meta, saved.tensors["conditions.joint"]
    about, table = meta.data, meta.recipe["condition"]

    def is_refused(said: str, joint: torch.Tensor = joint, meta: checkpoint.Meta = meta) -> None:
        archive.write(path, {**saved.tensors, "conditions.joint": joint}, checkpoint.header_of(meta))
        with pytest.raises(UserError, match=f"its header is wrong: .*{said}") as refusal:
            mulligan.load(path)
        assert "\n" not in str(refusal.value)

    is_refused("a part that its piece does not have", joint.flip(1))
    is_refused("not as many images", joint[:-1])
    more = about.model_copy(update={"class_names": (*about.class_names, "ten")})
    is_refused("tells of 10 classes, its data has 11", meta=meta.model_copy(update={"data": more}))
    fewer = {**meta.recipe, "condition": {**table, "clusters": 3}}
    is_refused("more parts than condition.clusters, 3", meta=meta.model_copy(update={"recipe": fewer}))
    whole = {**meta.recipe, "condition": {**table, "pieces": "whole"}}
    is_refused("5 classes or pieces, .* tells of 10", meta=meta.model_copy(update={"recipe": whole}))
