"""The Inception extra: what it passes on, and what it says where it cannot be had.

torch-fidelity stands on torchvision, which is not for every build of torch; a stand-in with its
signature shows how it is called.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch

from mulligan.data import write_npz
from mulligan.errors import UserError
from mulligan.scorecard import Scorecard, with_inception
from mulligan.scorecard.inception import WEIGHTS, inception_distances
from support import command

IMAGES = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (120, 1, 28, 28), dtype=np.uint8)


def stand_in(monkeypatch: pytest.MonkeyPatch, answer: object) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def calculate_metrics(**options: Any) -> object:
        calls.append(options)
        if isinstance(answer, Exception):
            raise answer
        return answer

    module = ModuleType("torch_fidelity")
    module.calculate_metrics = calculate_metrics  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", module)
    return calls


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights as the library's come, where torch looks for such."""
    file = tmp_path / "checkpoints" / WEIGHTS
    file.parent.mkdir()
    torch.save({"fc.bias": torch.zeros(3)}, file)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return file


def test_the_library_is_given_colour_images_and_its_numbers_come_back(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = stand_in(
        monkeypatch,
        {
            "frechet_inception_distance": 3.5,
            "kernel_inception_distance_mean": 0.25,
            "kernel_inception_distance_std": 0.125,
        },
    )
    found = inception_distances(IMAGES, IMAGES[:110], weights=str(hub))
    assert found == {"inception_fid": 3.5, "inception_kid": 0.25, "inception_kid_std": 0.125}
    (options,) = calls
    image = options["input1"][7]
    assert (image.shape, str(image.dtype)) == ((3, 28, 28), "torch.uint8")
    assert (image.numpy() == IMAGES[7]).all()
    assert (len(options["input2"]), options["kid_subset_size"]) == (110, 110)
    assert options["feature_extractor_weights_path"] == str(hub)
    assert options["fid"]
    assert options["kid"]


def test_weights_that_cannot_be_fetched_are_one_line(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    stand_in(monkeypatch, {})
    hub.unlink()
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    expected = "could not be had: .*no route.*put weights-inception.*--inception-weights"
    with pytest.raises(UserError, match=expected):
        inception_distances(IMAGES, IMAGES)


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps(Path("x"), protocol=2)])
def test_weights_that_hold_more_than_tensors_are_refused(
    content: bytes, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = stand_in(monkeypatch, {})
    hub.write_bytes(content)
    with pytest.raises(UserError, match="weights could not be had"):
        inception_distances(IMAGES, IMAGES)
    assert not calls


def test_a_card_survives_that_inception_cannot_be_had() -> None:
    card = Scorecard("digits", 600, {}, {})
    assert "goes with --reference" in with_inception(card, "x").absent["inception_fid"]


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(UserError, match=r"pip install 'mulligan\[inception\]'"):
        inception_distances(IMAGES, IMAGES)
    with pytest.raises(UserError, match="at least 100 images"):
        inception_distances(IMAGES[:99], IMAGES)


@pytest.mark.mnist
def test_the_command_line_adds_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(
        monkeypatch,
        {
            "frechet_inception_distance": 3.5,
            "kernel_inception_distance_mean": 0.25,
            "kernel_inception_distance_std": 0.125,
        },
    )
    write_npz(tmp_path / "some.npz", IMAGES)
    assert command("evaluate", tmp_path / "some.npz", "--quick", "--inception") == 0
    assert "Inception FID" in capsys.readouterr().out
