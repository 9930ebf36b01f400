"""The five recipes against their tutorials, and everything that can be wrong with a recipe."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mulligan import recipe
from mulligan.errors import UserError
from mulligan.recipe import Recipe
from mulligan.recipe.reading import MAX_RECIPE_BYTES

NAMES = ("mlp-relu", "mlp-tanh", "dcgan-softmax", "mlp-batchnorm", "mlp-smooth")

# Each row: what the five tutorials say, in the order of NAMES; a dash where the row means nothing to
# one, or where it says nothing. 60,000 images are an epoch; a cadence is steps × batch.
DASH = object()
TUTORIALS: dict[str, tuple[object, object, object, object, object]] = {
    "latent.size": (100, 200, 200, 100, 100),
    "latent.law": ("uniform", "uniform", "uniform", "normal", "normal"),
    "latent.low": (-1, 0, -1, DASH, DASH),
    "latent.high": (1, 10, 1, DASH, DASH),
    "generator.kind": ("mlp", "mlp", "tutorial-dcgan", "mlp", "mlp"),
    "generator.hidden": ([128], [600], DASH, [128, 256, 512, 1024], [128]),
    "generator.channels": (DASH, DASH, [128, 64], DASH, DASH),
    "generator.activation": ("relu", "tanh", "tanh", "leaky-relu", "leaky-relu"),
    "generator.norm": ("none", "none", DASH, ["none", "batch", "batch", "batch"], "none"),
    "generator.norm_eps": (DASH, DASH, DASH, 0.8, DASH),
    "generator.output": ("sigmoid", "sigmoid", "sigmoid", "tanh", "tanh"),
    "discriminator.kind": ("mlp", "mlp", "tutorial-dcgan", "mlp", "mlp"),
    "discriminator.hidden": ([128], [600], DASH, [512, 256], [128]),
    "discriminator.channels": (DASH, DASH, [64, 128], DASH, DASH),
    "discriminator.dense": (DASH, DASH, 1024, DASH, DASH),
    "discriminator.activation": ("relu", "tanh", "tanh", "leaky-relu", "leaky-relu"),
    "discriminator.norm": ("none", "none", DASH, "none", "none"),
    "data.pixels": ([0, 1], [0, 1], [0, 1], [-1, 1], [-1, 1]),
    "generator.init": ("he-normal", "inverse-fan-in", "glorot-uniform", "torch", "glorot-uniform"),
    "discriminator.init": ("he-normal", "inverse-fan-in", "glorot-uniform", "torch", "glorot-uniform"),
    "objective.kind": ("non-saturating", "non-saturating", "softmax", "non-saturating", "non-saturating"),
    "objective.real_label": (1, 1, 1, 1, 0.9),
    "objective.d_scale": (1, 1, 0.5, 0.5, 1),  # the mean over 2·B; (real + fake) / 2
    "optimizer.generator.lr": (1e-3, 1e-3, 1e-3, 2e-4, 1e-3),
    "optimizer.generator.beta1": (0.9, 0.9, 0.9, 0.5, 0.9),
    "optimizer.generator.beta2": (0.999, 0.999, 0.999, 0.999, 0.999),
    "optimizer.generator.eps": (1e-8, 1e-8, 1e-8, 1e-8, 1e-8),
    "optimizer.discriminator.lr": (1e-3, 1e-3, 1e-3, 2e-4, 1e-3),
    "optimizer.discriminator.beta1": (0.9, 0.9, 0.9, 0.5, 0.9),
    "optimizer.discriminator.beta2": (0.999, 0.999, 0.999, 0.999, 0.999),
    "optimizer.discriminator.eps": (1e-8, 1e-8, 1e-8, 1e-8, 1e-8),
    "step.order": ("d-then-g", "d-then-g", "together", "g-then-d", "d-then-g"),
    "step.noise": ("shared", "fresh", "shared", "shared", "shared"),
    "step.d_steps": (1, 1, 1, 1, 1),
    "data.batch": (128, 128, 32, 64, 128),
    "data.order": ("epoch", "replacement", "epoch", "epoch", "epoch"),
    "data.last": ("carry", DASH, "carry", "short", "carry"),
    "data.holdout": (5_000, 5_000, 5_000, 0, 0),
    "budget.images": (100_000 * 128, 50 * 128, 2_000 * 32, 100 * 60_000, 100_000 * 128),
    "budget.steps": (None, None, None, None, None),
    "budget.minutes": (None, None, None, None, None),
    "stop.kind": ("none", "d-of-fake", "none", "none", "none"),
    "stop.low": (DASH, 0.45, DASH, DASH, DASH),
    "stop.high": (DASH, 0.55, DASH, DASH, DASH),
    "stop.min_steps": (DASH, 10, DASH, DASH, DASH),  # zero-based i > 8
    "log.every": (1_000 * 128, 128, 100 * 32, DASH, DASH),
    "log.counts": ("from-zero", "from-zero", "from-one", DASH, DASH),
    "log.first": (DASH, DASH, True, DASH, DASH),
    "log.losses": ("training", "fresh", "training", DASH, DASH),
    "samples.every": (1_000 * 128, 128, 0, 60_000, 1_000 * 128),
    "samples.counts": ("from-zero", "from-zero", DASH, "from-one", "from-zero"),
    "samples.grid": ([4, 4], [1, 1], [4, 10], DASH, [4, 4]),
    "samples.latents": ("fresh", "fresh", "fresh", DASH, "fresh"),
    "ema.half_life": (0, 0, 0, 0, 0),
}


def at(table: Recipe, path: str) -> Any:
    """Return the value of a dotted key, as TOML has it."""
    value: Any = table.model_dump(mode="json")
    for key in path.split("."):
        value = value[key]
    return value


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_is_its_tutorial(name: str) -> None:
    read = recipe.read(name)
    column = NAMES.index(name)
    expected = {path: row[column] for path, row in TUTORIALS.items() if row[column] is not DASH}
    assert {path: at(read, path) for path in expected} == expected
    assert (read.name, bool(read.title), bool(read.source)) == (name, True, True)


def test_the_five_are_there() -> None:
    assert set(NAMES) <= set(recipe.names())
    assert recipe.names() == sorted(recipe.names())


# TOML, in and out --------------------------------------------------------------------------------


def again(read: Recipe) -> Recipe:
    return recipe.from_dict(tomllib.loads(read.to_toml()))


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str, tmp_path: Path) -> None:
    read = recipe.read(name)
    assert again(read) == read
    file = tmp_path / "mine.toml"
    file.write_text(read.to_toml(), encoding="utf-8")
    assert recipe.read(file) == read
    file.write_text(recipe.text(name), encoding="utf-8")  # what `mulligan recipes show` prints
    assert recipe.read(str(file)) == read


@given(
    title=st.text(st.characters(codec="utf-8")),
    size=st.integers(1, 4096),
    reach=st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)).filter(lambda ends: ends[0] < ends[1]),
    lr=st.floats(0, 10, exclude_min=True),
    hidden=st.lists(st.integers(1, 16384), min_size=1, max_size=16),
    minutes=st.none() | st.floats(1e-9, 1e6),
)
def test_round_trip_of_any_values(
    title: str, size: int, reach: tuple[float, float], lr: float, hidden: list[int], minutes: float | None
) -> None:
    low, high = reach
    over = {
        "title": title,
        "latent": {"size": size, "law": "uniform", "low": low, "high": high},
        "optimizer": {"generator": {"lr": lr}},
        "generator": {"hidden": hidden},
        "budget": {} if minutes is None else {"minutes": minutes},
    }
    read = recipe.from_dict(recipe.merge(tomllib.loads(recipe.text("mlp-relu")), over))
    assert again(read) == read
    assert (read.title, read.latent.low, read.latent.high) == (title, low, high)
    assert (read.optimizer.generator.lr, read.generator.model_dump()["hidden"]) == (lr, hidden)
    assert read.budget.minutes == minutes


# Merging -----------------------------------------------------------------------------------------


def test_an_override_keeps_what_lies_beside_it() -> None:
    """A naive override of generator.lr falls back to Adam's beta1 of 0.5, and loses D's rate."""
    read = recipe.read("mlp-relu", ["optimizer.generator.lr=5e-4", "generator.hidden=[64]"])
    plain = recipe.read("mlp-relu")
    assert read.optimizer.generator.lr == 5e-4
    assert read.optimizer.generator.beta1 == 0.9
    assert read.optimizer.discriminator == plain.optimizer.discriminator
    expected = {**plain.generator.model_dump(), "hidden": [64]}
    assert read.generator.model_dump() == expected
    assert (read.generator.activation, read.generator.init) == ("relu", "he-normal")


def test_every_other_key_stays() -> None:
    before = recipe.read("mlp-batchnorm").model_dump()
    after = recipe.read("mlp-batchnorm", ["data.batch=32"]).model_dump()
    assert after["data"].pop("batch") == 32
    assert before["data"].pop("batch") == 64
    assert after == before


def test_a_table_whose_kind_changes_is_replaced() -> None:
    read = recipe.read("mlp-relu", ["generator.kind=tutorial-dcgan", "discriminator.kind='tutorial-dcgan'"])
    assert at(read, "generator") == {
        "kind": "tutorial-dcgan",
        "activation": "tanh",
        "init": "glorot-uniform",
        "channels": [128, 64],
        "output": "sigmoid",
    }
    assert at(read, "discriminator.dense") == 1024
    assert read.latent == recipe.read("mlp-relu").latent


def test_the_new_kind_takes_keys_that_follow() -> None:
    read = recipe.read("mlp-relu", ["generator.kind=tutorial-dcgan", "generator.channels=[8, 4]"])
    assert at(read, "generator.channels") == [8, 4]


def test_a_stop_rule_can_be_taken_away_and_given() -> None:
    assert at(recipe.read("mlp-tanh", ['stop={kind="none"}']), "stop") == {"kind": "none"}
    assert at(recipe.read("mlp-tanh", ["stop.kind=none"]), "stop") == {"kind": "none"}
    given = recipe.read("mlp-relu", ["stop.kind=d-of-fake", "stop.low=0.4"])
    assert at(given, "stop") == {"kind": "d-of-fake", "low": 0.4, "high": 0.55, "min_steps": 10}


def test_later_overrides_win() -> None:
    assert recipe.read("mlp-relu", ["data.batch=1", "data.batch=2"]).data.batch == 2


TABLES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | st.integers(0, 3), max_size=3),
    max_leaves=8,
)


@given(TABLES, TABLES)
def test_merging_loses_nothing_and_leaves_its_arguments(base: dict[str, Any], over: dict[str, Any]) -> None:
    copies = repr(base), repr(over)
    merged = recipe.merge(base, over)
    assert (repr(base), repr(over)) == copies
    assert merged.keys() == base.keys() | over.keys()
    for key, value in merged.items():
        old, new = base.get(key), over.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            assert value == recipe.merge(old, new)
        else:
            assert value == (new if key in over else old)
    assert recipe.merge(merged, over) == merged
    assert recipe.merge(base, {}) == base


def test_extends(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('extends = "mlp-smooth"\nname = "mine"\n[optimizer.generator]\nlr = 4e-4\n')
    read = recipe.read(file, ["data.batch=16"])
    expected = recipe.read("mlp-smooth", ["name=mine", "optimizer.generator.lr=4e-4", "data.batch=16"])
    assert read == expected
    assert read.objective.real_label == 0.9


# Overrides ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("data.batch=16", "data.batch", 16),
        (" data . batch = 16 ", "data.batch", 16),
        ("data.batch=1_000", "data.batch", 1000),
        ("optimizer.generator.lr=2e-4", "optimizer.generator.lr", 2e-4),
        ("optimizer.generator.lr=1", "optimizer.generator.lr", 1.0),
        ("latent.low=-3.5", "latent.low", -3.5),
        ("objective.kind=minimax", "objective.kind", "minimax"),
        ('objective.kind="minimax"', "objective.kind", "minimax"),
        ("objective.kind='minimax'", "objective.kind", "minimax"),
        ("title=two words, = and #", "title", "two words, = and #"),
        ("title=", "title", ""),
        ('title="3"', "title", "3"),
        ("generator.hidden=[64, 32]", "generator.hidden", [64, 32]),
        ("samples.grid=[2,8]", "samples.grid", [2, 8]),
        ("log.first=true", "log.first", True),
        ('latent={law = "normal", size = 7}', "latent.size", 7),
    ],
)
def test_an_override_parses(override: str, path: str, value: object) -> None:
    found = at(recipe.read("mlp-relu", [override]), path)
    assert found == value
    assert type(found) is type(value)


# Errors ------------------------------------------------------------------------------------------


def refused(source: str | Path, *overrides: str) -> str:
    """Return the one line that says why a recipe cannot be used."""
    with pytest.raises(UserError) as error:
        recipe.read(source, overrides)
    message = str(error.value)
    assert message.isprintable()  # one line
    return message


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        # A key that is not one: its path, and the nearest
        ("data.bacth=3", ["data.bacth", "'batch'"]),
        ("dta.batch=3", ["dta", "'data'"]),
        ("optimizer.generator.lrr=3", ["optimizer.generator.lrr", "'lr'"]),
        ("generator.hiden=[3]", ["generator.hiden", "'hidden'"]),
        ("discriminator.chanels=[3]", ["discriminator.chanels"]),
        ("stop.kid=3", ["stop"]),
        ("qqqqqq=3", ["qqqqqq", "latent"]),  # nothing is near: all of them
        # A choice that is not one
        ("objective.kind=non-saturatin", ["objective.kind", "'non-saturatin'", "'non-saturating'"]),
        ("generator.kind=mpl", ["generator.kind", "'mpl'", "'mlp'"]),
        ("generator.activation=leakyrelu", ["generator.activation", "'leaky-relu'"]),
        ("discriminator.init=he", ["discriminator.init", "he-normal"]),
        ("stop.kind=d-of-fak", ["stop.kind", "'d-of-fake'"]),
        ("step.order=g-d", ["step.order", "g-then-d"]),
        ("data.order=epochs", ["data.order", "'epoch'"]),
        ("generator.norm=bach", ["generator.norm = 'bach'", "'batch'"]),
        ("discriminator.norm=3", ["discriminator.norm = 3", "batch, none"]),
        ("generator.norm=['bach']", ["generator.norm", "'bach'", "'batch'"]),
        # Types are taken at their word
        ("data.batch=big", ["data.batch", "integer", "'big'"]),
        ("data.batch=64.0", ["data.batch", "integer", "64.0"]),
        ("data.batch=true", ["data.batch", "integer", "True"]),
        ("data.batch=1979-05-27", ["data.batch", "integer"]),
        ("data.batch=[64]", ["data.batch", "integer"]),
        ("optimizer.generator.lr='2e-4'", ["optimizer.generator.lr", "number", "'2e-4'"]),
        ("optimizer.generator=adam", ["optimizer.generator"]),
        ("generator=3", ["generator"]),
        ("title=3", ["title", "string", "3"]),
        ("log.first=1", ["log.first", "boolean"]),
        ("data.pixels=['0', '1']", ["data.pixels", "number"]),
        ("data.pixels=[0, 1, 2]", ["data.pixels"]),
        ("samples.grid=[4.0, 4]", ["samples.grid", "integer"]),
        ("generator.hidden=128", ["generator.hidden", "list"]),
        ("generator.hidden=['wide']", ["generator.hidden", "integer", "'wide'"]),
        # Ranges
        ("data.batch=0", ["data.batch", "1", "0"]),
        ("data.batch=65537", ["data.batch", "65536"]),
        ("latent.size=0", ["latent.size", "1"]),
        ("latent.size=4097", ["latent.size", "4096"]),
        ("optimizer.generator.lr=0", ["optimizer.generator.lr", "above 0"]),
        ("optimizer.generator.lr=-1", ["optimizer.generator.lr", "from 0 to 10", "(got -1)"]),
        ("optimizer.generator.lr=11", ["optimizer.generator.lr", "from 0 to 10", "(got 11)"]),
        ("optimizer.generator.lr=nan", ["optimizer.generator.lr", "nan"]),
        ("optimizer.generator.lr=1e400", ["optimizer.generator.lr", "inf"]),
        ("optimizer.discriminator.beta1=1", ["optimizer.discriminator.beta1", "less than 1"]),
        ("optimizer.discriminator.beta2=1", ["optimizer.discriminator.beta2", "(got 1)"]),
        ("penalty.r1=-1", ["penalty.r1", "from 0", "-1"]),
        ("penalty.r1=inf", ["penalty.r1", "finite", "inf"]),
        ("augment.noise=nan", ["augment.noise", "finite", "nan"]),
        ("budget.minutes=inf", ["budget.minutes", "finite", "inf"]),
        ("latent.high=inf", ["latent.high", "finite", "inf"]),
        ("latent.low=-inf", ["latent.low", "finite", "inf"]),
        ("data.pixels=[0, inf]", ["data.pixels", "finite", "inf"]),
        ("generator.norm_eps=inf", ["generator.norm_eps", "finite", "inf"]),
        # Curves
        ("optimizer.generator.lr={images=[0, 9], values=[0, 0]}", ["optimizer.generator.lr", "above 0"]),
        ("optimizer.generator.lr={images=[0, 9], values=[1, 11]}", ["optimizer.generator.lr", "to 10", "11"]),
        ("optimizer.generator.lr={images=[0, 9], values=[0, inf]}", ["optimizer.generator.lr.values", "inf"]),
        ("optimizer.generator.lr={images=[9, 9], values=[0, 1]}", ["optimizer.generator.lr", "increase"]),
        ("optimizer.generator.lr={images=[0, 9], values=[1]}", ["optimizer.generator.lr.values", "2"]),
        ("optimizer.generator.lr={imgs=[0, 9], values=[0, 1]}", ["optimizer.generator.lr.imgs", "'images'"]),
        # Numbers of any length
        ("latent.size=0x" + "f" * 100_000, ["latent.size", "4096", "huge"]),
        ("latent.low=-0x" + "f" * 100_000, ["latent.low"]),
        ("latent.low=0x" + "f" * 100_000, ["latent.low", "huge"]),
        ("title=0x" + "f" * 100_000, ["title", "string", "huge"]),
        ("data.batch=1" + "0" * 100_000, ["data.batch", "100000"]),
        ("objective.real_label=0.5", ["objective.real_label", "0.5"]),
        ("objective.real_label=1.1", ["objective.real_label", "1.1"]),
        ("budget.images=0", ["budget.images", "1"]),
        ("budget.minutes=0", ["budget.minutes", "0"]),
        ("generator.hidden=[]", ["generator.hidden"]),
        ("generator.hidden=[128, 0]", ["generator.hidden", "0"]),
        ("checkpoint.keep=1", ["checkpoint.keep", "2"]),
        ("samples.grid=[0, 4]", ["grid", "1 to 64"]),
        ("samples.grid=[65, 1]", ["grid", "1 to 64"]),
        ("name=Upper Case", ["name", "'Upper Case'"]),
        # Settings that contradict each other
        ("data.pixels=[-1, 1]", ["data.pixels", "sigmoid", "[0, 1]"]),
        ("data.pixels=[1, 0]", ["pixels", "low < high"]),
        ("data.pixels=[nan, 1]", ["pixels"]),
        ("latent.low=2", ["latent", "low must be below high"]),
        ("generator.norm=['batch', 'batch']", ["generator", "norm", "2", "1"]),
        ("objective={kind='softmax', real_label=0.9}", ["objective", "real_label"]),
        ("stop.low=0.3", ["stop", "kind"]),
        ("stop={kind='d-of-fake', low=0.6, high=0.5}", ["stop", "low 0.6 must be below high 0.5"]),
        ("stop={kind='d-of-fake', low=0.5, high=0.5}", ["stop", "low 0.5 must be below high 0.5"]),
        ("stop={kind='d-of-fake', low=0.55}", ["stop", "low 0.55 must be below high 0.55"]),
        # Not an override
        ("data.batch", ["--set 'data.batch'", "path.to.key=value"]),
        ("=3", ["--set '=3'", "path.to.key=value"]),
        ("=", ["--set '='", "path.to.key=value"]),
        ("", ["--set ''", "path.to.key=value"]),
        (".=3", ["--set '.=3'", "path.to.key=value"]),
        ("data..batch=3", ["--set 'data..batch=3'", "path.to.key=value"]),
        ("title=a\nb", [r"--set 'title=a\nb'", "path.to.key=value"]),
        ("a\x1b[31m=3", [r"--set 'a\x1b[31m=3'", "path.to.key=value"]),
        ("title=\udcff", [r"--set 'title=\udcff'", "path.to.key=value"]),  # a byte that is not UTF-8
        ("\udcff=3", [r"--set '\udcff=3'", "path.to.key=value"]),
        ("generator" + ".a" * 5000 + "=1", ["--set 'generator.a.a", "path.to.key=value"]),
        ("data.batch=" + "[" * 5000, ["data.batch", "integer", "'[[["]),
    ],
)
def test_what_is_wrong_is_named_in_one_line(override: str, parts: list[str]) -> None:
    message = refused("mlp-relu", override)
    for part in parts:
        assert part in message
    assert len(message) < 400


def test_a_learning_rate_may_begin_or_end_at_nothing() -> None:
    curve = "{images = [0, 100, 200], values = [0, 1e-3, 0]}"
    lr = recipe.read("mlp-relu", [f"optimizer.generator.lr={curve}"]).optimizer.generator.lr
    assert isinstance(lr, recipe.Curve)
    assert (lr.at(0), lr.at(100), lr.at(200)) == (0, 1e-3, 0)


def test_tables_nested_beyond_reason(tmp_path: Path) -> None:
    deep = "a" + ".a" * 1100  # deeper than Python's stack
    file = tmp_path / "mine.toml"
    for key in ("data", "generator.kind", "objective.kind", "stop.kind", "latent.low", "data.pixels"):
        file.write_text(f'extends = "mlp-relu"\n{key}.{deep} = 1\n')
        assert refused(file) == f"{file}: nested too deeply for a recipe"
        # The second is laid over the first, all the way down
        assert "nested too deeply" in refused("mlp-relu", f"{key}={{{deep}=1}}", f"{key}={{{deep}=2}}")
    file.write_text(f"extends.{deep} = 1\n")
    assert "extends must be the name of a recipe" in refused(file)
    table: dict[str, Any] = {}
    table["title"] = [table]
    with pytest.raises(UserError, match="nested too deeply"):
        recipe.from_dict(table)


def test_the_first_letters_say_where(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('extends = "mlp-relu"\nbatch = 3\n')
    assert refused(file).startswith(f"{file}: batch ")
    assert refused("mlp-relu", "data.batch=0").startswith("mlp-relu: data.batch: ")


def test_an_unknown_recipe_names_the_nearest(tmp_path: Path) -> None:
    assert "'mlp-relu'" in refused("mlp-rel")
    assert "'dcgan-softmax'" in refused("dcgan-soft")
    assert "choose from" in refused("zzzzzz")
    assert "choose from" in refused("")
    file = tmp_path / "mine.toml"
    file.write_text('extends = "mlp-smoth"')
    assert "'mlp-smooth'" in refused(file)
    file.write_text("extends = 3")
    assert "extends" in refused(file)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("")
    assert "name is missing" in refused(file)
    file.write_text('name = "a"\n[discriminator]\nkind = "mlp"\nhidden = [1]\n[generator]\nkind = "mlp"')
    assert "generator.hidden is missing" in refused(file)
    file.write_text('name = "a"\n[discriminator]\nkind = "mlp"\nhidden = [1]\n[generator]\nhidden = [1]')
    assert "generator needs a kind" in refused(file)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("name = ")
    assert refused(file).startswith(f"{file}: not valid TOML: ")
    file.write_bytes("name = 'é'".encode("latin-1"))
    assert "UTF-8" in refused(file)
    file.write_bytes(b"a=" + b"[" * 100_000)
    assert "not valid TOML" in refused(file)
    whole = b"# " + recipe.text("mlp-relu").encode()
    file.write_bytes(b"#" * (MAX_RECIPE_BYTES - len(whole)) + whole)  # exactly 1 MiB
    assert recipe.read(file).name == "mlp-relu"
    file.write_bytes(b"#" * (MAX_RECIPE_BYTES + 1 - len(whole)) + whole)
    assert "1 MiB" in refused(file)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    message = refused(tmp_path / "mlp-rel.toml")
    assert str(tmp_path / "mlp-rel.toml") in message
    assert "'mlp-relu'" in message
    (tmp_path / "folder.toml").mkdir()
    assert str(tmp_path / "folder.toml") in refused(tmp_path / "folder.toml")


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("x" * 5000 + ".toml", "cannot read the recipe xxx"),
        ("/" + "x/" * 5000 + "mine.toml", "cannot read the recipe /x/x"),
        ("x" * 5000, "there is no recipe 'xxx"),
        ("mi\0ne.toml", r"cannot read the recipe mi\x00ne.toml: "),
        ("mi\0ne", r"there is no recipe 'mi\x00ne' (choose from"),
        ("mi\nne.toml", r"cannot read the recipe mi\nne.toml: "),
        ("mi\x1b[31mne.toml", r"cannot read the recipe mi\x1b[31mne.toml: "),
        ("\ud800.toml", r"cannot read the recipe \ud800.toml: "),
        ("\ud800", r"there is no recipe '\ud800' (choose from"),
    ],
    ids=ascii,
)
def test_names_that_no_file_can_have(source: str, part: str) -> None:
    message = refused(source)
    assert part in message
    assert len(message) < 600


# Anything at all ---------------------------------------------------------------------------------

# Control characters and lone surrogates are among them.
WORDS = st.text(st.characters(exclude_categories=[]), max_size=12)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | WORDS
    | st.dates()
    | st.sampled_from(["mlp", "tutorial-dcgan", "none", "batch", "softmax", "d-of-fake", "sigmoid"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.just("kind"), inner, max_size=4),
    max_leaves=6,
)


def paths(table: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in table.items():
        found.append((*prefix, key))
        if isinstance(value, dict):
            found += paths(value, (*prefix, key))
    return found


TABLES_OF = {name: recipe.read(name).model_dump(mode="json") for name in NAMES}
PATHS = sorted({path for table in TABLES_OF.values() for path in paths(table)})


def complaint(use: Callable[[], object]) -> str:
    """Return what a UserError says, or nothing; any other error fails the test."""
    try:
        use()
    except UserError as error:
        return str(error)
    return ""


@given(name=st.sampled_from(NAMES), path=st.sampled_from(PATHS), value=VALUES)
@settings(max_examples=300)
def test_any_value_under_any_key(name: str, path: tuple[str, ...], value: Any) -> None:
    over = value
    for key in reversed(path):
        over = {key: over}
    table = recipe.merge(TABLES_OF[name], over)
    assert complaint(lambda: recipe.from_dict(table).to_toml()).isprintable()


@given(table=st.dictionaries(WORDS | st.sampled_from([path[0] for path in PATHS]), VALUES, max_size=6))
def test_any_table(table: dict[str, Any]) -> None:
    assert complaint(lambda: recipe.from_dict(table)).isprintable()


@given(
    key=WORDS | st.sampled_from([".".join(path) for path in PATHS]),
    sign=st.sampled_from(["=", "", " = "]),
    value=WORDS
    | st.sampled_from(["[", "{", '"', "'''", "{kind=", "[[1], [2]]", "-inf", "nan", "07:32:00", "1e400"]),
)
@example(key="a.b.c", sign="=", value="[" * 5000)
@example(key="generator" + ".a" * 3000, sign="=", value="1")
def test_any_override(key: str, sign: str, value: str) -> None:
    assert complaint(lambda: recipe.read("mlp-relu", [key + sign + value])).isprintable()


@given(document=st.binary(max_size=60) | VALUES.filter(lambda v: isinstance(v, dict)))
def test_any_document(document: bytes | dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    try:
        file.write_bytes(document if isinstance(document, bytes) else tomli_w.dumps(document).encode())
    except (TypeError, UnicodeEncodeError):  # TOML has neither null nor lone surrogates
        return
    assert complaint(lambda: recipe.read(file)).isprintable()
    file.write_bytes(b'extends = "mlp-relu"\n' + file.read_bytes())
    assert complaint(lambda: recipe.read(file)).isprintable()
