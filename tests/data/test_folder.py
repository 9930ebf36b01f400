from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mulligan.data.folder import read_folder
from mulligan.errors import UserError


def save(path: Path, pixels: Any, mode: str | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def grey(value: int, size: int = 8) -> Any:
    return np.full((size, size), value)


def colour(r: int, g: int, b: int, size: int = 8) -> Any:
    return np.full((size, size, 3), (r, g, b))


def test_every_format_in_the_order_of_names(tmp_path: Path) -> None:
    save(tmp_path / "b.PNG", grey(20))
    save(tmp_path / "a.bmp", grey(10))
    save(tmp_path / "c.jpg", grey(30))
    save(tmp_path / ".hidden.png", grey(99))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    seen: list[tuple[int, int | None]] = []
    data = read_folder(tmp_path, 8, lambda done, total: seen.append((done, total)))
    assert data.name == str(tmp_path)
    assert data.images.shape == (3, 1, 8, 8)
    assert data.images[:, 0, 4, 4].tolist() == [10, 20, 30]
    assert data.labels is None
    assert data.class_names == ()
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_one_colour_image_makes_the_set_rgb(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey(10))
    save(tmp_path / "b.webp", colour(0, 200, 0), lossless=True)
    data = read_folder(tmp_path, 8)
    assert data.images[:, :, 0, 0].tolist() == [[10, 10, 10], [0, 200, 0]]


def test_subfolders_are_classes(tmp_path: Path) -> None:
    save(tmp_path / "dogs" / "z.png", grey(3))
    save(tmp_path / "cats" / "b.png", grey(2))
    save(tmp_path / "cats" / "a.png", grey(1))
    (tmp_path / "readme.txt").write_text("")
    data = read_folder(tmp_path, 4)
    assert data.class_names == ("cats", "dogs")
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == [0, 0, 1]
    assert data.images[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_centre_crop_then_resize(tmp_path: Path) -> None:
    wide = np.full((8, 16), 255)
    wide[:, 4:12] = 100
    save(tmp_path / "a.png", wide)
    save(tmp_path / "b.png", wide.T)
    np.testing.assert_array_equal(read_folder(tmp_path, 4).images, 100)


def test_shrinking_averages(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.indices((64, 64)).sum(0) % 2 * 255)
    assert np.abs(read_folder(tmp_path, 8).images.astype(int) - 127).max() <= 2


def test_exif_orientation(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8))
    pixels[:4] = 200  # bright at the top; orientation 3 turns it by 180°
    exif = Image.Exif()
    exif[0x0112] = 3
    save(tmp_path / "a.png", pixels, exif=exif)
    Image.fromarray((pixels * 256).astype(np.uint16)).save(tmp_path / "b.png", exif=exif)
    images = read_folder(tmp_path, 8).images
    assert images[0, 0, 0, 0] == 0
    assert images[0, 0, 7, 0] == 200
    assert images[1, 0, 0, 0] == 0
    assert images[1, 0, 7, 0] == 199


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparent_is_black(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (0, 0, 4, 8))
    image.convert(mode).save(tmp_path / "a.png")
    images = read_folder(tmp_path, 8).images
    assert images.shape[1] == (1 if mode == "LA" else 3)
    assert (images[..., :4] == 255).all()
    assert (images[..., 4:] == 0).all()


def test_grey_with_a_transparent_value(tmp_path: Path) -> None:
    image = Image.new("L", (8, 8), 255)
    image.paste(77, (0, 0, 4, 8))
    image.save(tmp_path / "a.png", transparency=255)
    images = read_folder(tmp_path, 8).images
    assert images[0, 0, 0].tolist() == [77] * 4 + [0] * 4


def test_other_depths(tmp_path: Path) -> None:
    deep = np.zeros((8, 8), np.uint16)
    deep[:4] = 65535
    deep[4:] = 257 * 50
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(grey(255).astype(np.uint8)).convert("1").save(tmp_path / "b.png")
    images = read_folder(tmp_path, 8).images
    assert images.shape == (2, 1, 8, 8)
    assert images[0, 0, :, 0].tolist() == [255] * 4 + [50] * 4
    assert (images[1] == 255).all()


def test_cmyk(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", colour(250, 0, 0), "CMYK", quality=95)
    r, g, b = read_folder(tmp_path, 8).images[0, :, 4, 4].tolist()
    assert r > 200
    assert g < 60
    assert b < 60


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    frames[0].save(tmp_path / "b.png", save_all=True, append_images=frames[1:])
    assert read_folder(tmp_path, 8).images[:, :, 0, 0].tolist() == [[255, 0, 0]] * 2


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))


@pytest.mark.parametrize("side", [8001, 10_000, 40_000])
def test_bombs_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(side, side))
    with pytest.raises(UserError, match=r"bomb\.png: declares more than 64 megapixels"):
        read_folder(tmp_path, 8)


@pytest.mark.parametrize(
    "data", [b"", b"not an image", bomb(8, 8)[:40], bomb(100, 100), b"GIF89a" + bytes(50)]
)
def test_unreadable_image_is_named(tmp_path: Path, data: bytes) -> None:
    save(tmp_path / "a.png", grey(1))
    (tmp_path / "broken.png").write_bytes(data)
    with pytest.raises(UserError, match=r"broken\.png: not an image") as caught:
        read_folder(tmp_path, 8)
    assert "\n" not in str(caught.value)


def test_refused_layouts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images in it"):
        read_folder(tmp_path, 8)
    with pytest.raises(UserError, match="cannot be read"):
        read_folder(tmp_path / "none", 8)
    save(tmp_path / "class" / "a.png", grey(1))
    save(tmp_path / "top.png", grey(1))
    with pytest.raises(UserError, match=r"both at its top \(top\.png, …\) and in sub-folders \(class, …\)"):
        read_folder(tmp_path, 8)
    (tmp_path / "top.png").unlink()
    save(tmp_path / "class" / "deeper" / "a.png", grey(1))
    with pytest.raises(UserError, match="a folder inside the class folder 'class'"):
        read_folder(tmp_path, 8)


@pytest.mark.parametrize("size", [0, -3, 1025])
def test_size_out_of_range(tmp_path: Path, size: int) -> None:
    with pytest.raises(UserError, match=f"expected 1..1024 pixels, got {size}"):
        read_folder(tmp_path, size)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_links_may_not_leave_the_folder(tmp_path: Path) -> None:
    outside = save(tmp_path / "outside" / "a.png", grey(1))
    root = tmp_path / "root"
    inside = save(root / "a.png", grey(7))
    (root / "b.png").symlink_to(inside)
    assert read_folder(root, 8).images[:, 0, 0, 0].tolist() == [7, 7]
    (root / "c.png").symlink_to(outside)
    with pytest.raises(UserError, match=r"c\.png: a link that leads out of"):
        read_folder(root, 8)
    (root / "c.png").unlink()
    (root / "class").symlink_to(outside.parent)
    with pytest.raises(UserError, match="class: a link that leads out of"):
        read_folder(root, 8)
