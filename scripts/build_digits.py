"""Rebuild src/mulligan/data/digits.npz from scikit-learn's copy of the UCI digits, byte for byte.

Stored, not deflated, with fixed timestamps, so that no version of zlib or zip changes a byte.

    python scripts/build_digits.py [TARGET]
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).parents[1] / "src" / "mulligan" / "data" / "digits.npz"


def build(target: Path) -> None:
    """Write `images`, uint8 [1797, 8, 8], values 0..16, and `labels`, uint8 [1797], values 0..9."""
    digits = load_digits()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for key, values in (("images", digits.images), ("labels", digits.target)):
            npy = io.BytesIO()
            np.lib.format.write_array(npy, values.astype(np.uint8), version=(1, 0), allow_pickle=False)
            member = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, whatever system this runs on
            archive.writestr(member, npy.getvalue())


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
