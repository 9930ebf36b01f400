"""The Inception extra: what it passes on, and what it says where it cannot be had.

torch-fidelity stands on torchvision, which is not for every build of torch; a stand-in with its
signature shows how it is called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

from mulligan.data import write_npz
from mulligan.errors import UserError
from mulligan.scorecard.inception import inception_distances
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


def test_the_library_is_given_colour_images_and_its_numbers_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = stand_in(
        monkeypatch,
        {
            "frechet_inception_distance": 3.5,
            "kernel_inception_distance_mean": 0.25,
            "kernel_inception_distance_std": 0.125,
        },
    )
    found = inception_distances(IMAGES, IMAGES[:110], weights="here.pth")
    assert found == {"inception_fid": 3.5, "inception_kid": 0.25, "inception_kid_std": 0.125}
    (options,) = calls
    image = options["input1"][7]
    assert (image.shape, str(image.dtype)) == ((3, 28, 28), "torch.uint8")
    assert (image.numpy() == IMAGES[7]).all()
    assert (len(options["input2"]), options["kid_subset_size"]) == (110, 110)
    assert options["feature_extractor_weights_path"] == "here.pth"
    assert options["fid"]
    assert options["kid"]


def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, URLError("no route to host"))
    expected = "could not be had: .*no route.*put weights-inception.*--inception-weights"
    with pytest.raises(UserError, match=expected):
        inception_distances(IMAGES, IMAGES)


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
