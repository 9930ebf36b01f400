"""Fréchet and kernel distance by the Inception network, as papers on photographs report them.

The network and its weights are torch-fidelity's (Obukhov et al. 2020), whose numbers agree with the
original TensorFlow code. On digits they say little: the network has only ever seen photographs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from mulligan.errors import UserError, first_line, out_of_memory

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS}"
FEWEST = 100  # images; the kernel distance is a mean over subsets

Pixels = npt.NDArray[np.uint8]


class _Images(Dataset[torch.Tensor]):
    """Images as torch-fidelity takes them: uint8 ``[3, H, W]``."""

    def __init__(self, images: Pixels) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> torch.Tensor:
        image = torch.from_numpy(self._images[i])
        return image.expand(3, -1, -1).contiguous() if len(image) == 1 else image


def inception_distances(
    images: Pixels, real: Pixels, *, device: str = "cpu", weights: str | None = None
) -> dict[str, float]:
    """Return ``inception_fid``, ``inception_kid`` and ``inception_kid_std`` between two sets of images.

    Args:
        images: uint8 ``[N, C, H, W]``, C 1 or 3.
        real: The same of the reference.
        device: Where the network computes.
        weights: A file with its weights, where they cannot be fetched.

    Raises:
        UserError: torch-fidelity is not installed, its weights cannot be had, or there are few images.
    """
    few = min(len(images), len(real))
    if few < FEWEST:
        raise UserError(f"--inception: needs at least {FEWEST} images on either side, got {few}")
    try:
        import torch_fidelity
    except ImportError as error:
        raise UserError(
            f"--inception needs an extra package ({first_line(error)}): pip install 'mulligan[inception]'"
        ) from None
    try:
        found = torch_fidelity.calculate_metrics(
            input1=_Images(images),
            input2=_Images(real),
            cuda=device.startswith("cuda"),
            fid=True,
            kid=True,
            kid_subset_size=min(1000, few),
            feature_extractor_weights_path=_plain(weights),
            save_cpu_ram=True,
            verbose=False,
        )
    except (OSError, RuntimeError, ValueError, LookupError) as error:  # a URLError is an OSError
        if out_of_memory(error):
            raise
        raise UserError(
            f"--inception: the network's weights could not be had: {first_line(error)}: put {WEIGHTS} into "
            "~/.cache/torch/hub/checkpoints, or name the file with --inception-weights"
        ) from None
    return {
        "inception_fid": float(found["frechet_inception_distance"]),
        "inception_kid": float(found["kernel_inception_distance_mean"]),
        "inception_kid_std": float(found["kernel_inception_distance_std"]),
    }


def _plain(weights: str | None) -> str:
    """Return the file of the network's weights, fetched where it is not here; it holds tensors and no code.

    The library would unpickle what it fetches itself.
    """
    file = Path(weights or Path(torch.hub.get_dir(), "checkpoints", WEIGHTS))
    if weights is None and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL, str(file), progress=False)
    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a strange file makes of it
        raise ValueError(f"{file}: {first_line(error)}") from None
    return str(file)
