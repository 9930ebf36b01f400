"""A folder of image files as a data set."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from mulligan.data.cache import Cache, Shape
from mulligan.data.dataset import Dataset
from mulligan.data.resize import check_size, fit_square
from mulligan.errors import UserError, first_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
READ = ", ".join(SUFFIXES)
OTHERS = (".avif", ".gif", ".heic", ".jp2", ".pgm", ".ppm", ".svg", ".tga", ".tif", ".tiff")  # not read
MAX_PIXELS = 64_000_000
IN_MEMORY = 256 << 20  # bytes of decoded images; a larger set is mapped from a file
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_GREY_MODES = ("1", "L", "LA")


def read_folder(
    path: str | Path,
    size: int | None,
    progress: Callable[[int, int | None], None] | None = None,
    name: str | None = None,
) -> Dataset:
    """Read the PNG, JPEG, BMP and WebP images of a folder, in the order of their names.

    If the images lie in sub-folders, one level down, these are the classes, in the order of
    their names, numbers by their value. Hidden files and files of other kinds are passed over;
    of pictures the set's note says so. Each image is turned as its EXIF data says, laid on black
    where it is transparent, cut to its largest centred square and resized; of an animation the first
    frame is taken, and 16-bit grey becomes 8-bit. If every image is grey the set has one channel,
    else all have three (RGB). A set of more than 256 MiB is decoded into a file in the user's cache
    directory, once, and mapped from there.

    Args:
        path: The folder. Links that lead out of it are refused.
        size: Height and width of the images returned, 1..1024 pixels; None keeps their own, which
            must then be square and the same for all.
        progress: Called with (images read, images in all) after each image.
        name: Of the set; the path if None.

    Returns:
        Images, uint8 ``[N, C, size, size]`` with C 1 or 3, and labels if there are sub-folders.

    Raises:
        UserError: there is no image, one cannot be read or has more than 64 megapixels, images
            lie both beside and inside sub-folders, or the set would take more than 64 GiB or
            than the disk has.
    """
    if size is not None:
        check_size(size)
    root = Path(path)
    files, labels, class_names, others = _list(root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, over odd metadata and sizes; the latter are checked here
        cache = Cache(root, files, size)
        begun = cache.record()
        shape = begun.shape if begun else _survey(files, size)
        sha256 = None
        if begun or math.prod(shape) > IN_MEMORY:
            images, sha256 = cache.images(shape, _decode, labels, progress)
        else:
            images = np.empty(shape, np.uint8)
            for i, file in enumerate(files):
                images[i] = _decode(file, shape)
                if progress:
                    progress(i + 1, len(files))
    return Dataset(name or str(path), images, labels, class_names, _passed_over(others), known_sha256=sha256)


def _list(root: Path) -> tuple[list[Path], npt.NDArray[np.int64] | None, tuple[str, ...], list[Path]]:
    """Return the image files and, where sub-folders hold them, labels and class names; and files not read."""
    top, folders, others = _entries(root, root)
    entries = {folder.name: _entries(folder, root) for folder in folders}
    in_classes = [file for _, _, passed in entries.values() for file in passed]
    classes = {name: (images, deeper) for name, (images, deeper, _) in entries.items() if images or deeper}
    if all(name.isdecimal() for name in classes):  # 2 before 10
        classes = dict(sorted(classes.items(), key=lambda named: int(named[0])))
    for name, (_, deeper) in classes.items():
        if deeper:
            raise UserError(
                f"{deeper[0]}: a folder inside the class folder {name!r}; expected images directly in it"
            )
    if top and classes:
        raise UserError(
            f"{root}: has images both at its top ({top[0].name}, …) and in sub-folders "
            f"({next(iter(classes))}, …); expected one or the other"
        )
    if not top and not classes:
        found = _passed_over(others + in_classes)
        raise UserError(f"{root}: no images in it; {found or f'expected {READ} files'}")
    if top:
        return top, None, (), others
    files = [file for images, _ in classes.values() for file in images]
    labels = np.repeat(np.arange(len(classes)), [len(images) for images, _ in classes.values()])
    return files, labels.astype(np.int64), tuple(classes), in_classes


def _entries(folder: Path, root: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Return the images, folders and pictures of other kinds directly in a folder, each sorted by name."""
    images: list[Path] = []
    folders: list[Path] = []
    others: list[Path] = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        kinds = [(entry.is_dir(), entry.is_file()) for entry in entries]
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from None
    for entry, (is_folder, is_file) in zip(entries, kinds, strict=True):
        is_image = entry.name.lower().endswith(SUFFIXES) and is_file  # not a pipe of that name
        if entry.name.startswith("."):
            continue
        if not (is_folder or is_image):
            if entry.name.lower().endswith(OTHERS):
                others.append(Path(entry.path))
            continue
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(root.resolve()):
            raise UserError(f"{entry.path}: a link that leads out of {root}, which is not followed")
        (folders if is_folder else images).append(Path(entry.path))
    return images, folders, others


def _passed_over(others: list[Path]) -> str:
    """Say how many pictures of other kinds were found; empty if none."""
    if not others:
        return ""
    kinds = ", ".join(sorted({path.suffix.lower() for path in others}))
    return f"passed over {len(others):,} of other kinds ({kinds}): {READ} are read"


def _survey(files: list[Path], size: int | None) -> Shape:
    """Return the shape of the set, for which every file's header is read."""
    grey = True
    sizes: dict[tuple[int, int], Path] = {}
    for file in files:
        with _open(file) as image:
            grey = grey and _is_grey(image)
            sizes.setdefault(image.size, file)
    if size is None:
        size = _common_side(sizes)
        check_size(size)
    return len(files), 1 if grey else 3, size, size


def _decode(file: Path, shape: Shape) -> npt.NDArray[np.uint8]:
    """Return an image as the set holds it: uint8 ``[C, size, size]``."""
    _, channels, size, _ = shape
    with _open(file) as image:
        pixels = _pixels(image, channels == 1, size)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


@contextmanager
def _open(file: Path) -> Iterator[Image.Image]:
    """Open an image, whose declared size is checked before any pixel is decoded."""
    too_large = f"{file}: declares more than {MAX_PIXELS // 1_000_000} megapixels"
    try:
        with Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(too_large)
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(too_large) from None
    except Exception as error:
        # Pillow's decoders raise many kinds of exception over damaged files.
        raise UserError(f"{file}: not an image that can be read: {first_line(error)}") from None


def _common_side(sizes: dict[tuple[int, int], Path]) -> int:
    """Return the side that all images share, given one file of each size."""
    (size, file), *others = sizes.items()
    odd = next(iter([*others, *([(size, file)] if size[0] != size[1] else [])]), None)
    if odd is not None:
        (width, height), file = odd
        raise UserError(f"{file}: is {width}×{height} pixels: expected {size[0]}×{size[0]}, as the first")
    return size[0]


def _is_grey(image: Image.Image) -> bool:
    return image.mode in _GREY_MODES or image.mode.startswith("I")


def _pixels(image: Image.Image, grey: bool, size: int) -> npt.NDArray[np.uint8]:
    """Return uint8 ``[size, size]`` if grey, else ``[size, size, 3]``."""
    if image.mode.startswith("I"):
        deep = np.asarray(image).clip(0, 65535).astype(np.uint32)
        exif = image.getexif()
        image = Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
        image.getexif().update(exif)
    image = ImageOps.exif_transpose(image)
    mode = "L" if grey else "RGB"
    if image.has_transparency_data:
        alpha = image.convert("LA" if grey else "RGBA")
        image = Image.new(mode, image.size)  # black, as MNIST's background is
        image.paste(alpha.convert(mode), mask=alpha.getchannel("A"))
    return np.asarray(fit_square(image.convert(mode), size))
