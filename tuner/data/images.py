"""Folders of PNG or JPEG files of one size."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tuner.data.arrays import Read
from tuner.data.image_folders import BY_FOLDER, ENDINGS, read_folder
from tuner.errors import DataError
from tuner.spec.data import DataSpec
from tuner.spec.rules import TYPED


def read_images(path: Path, spec: DataSpec, rules: int) -> Read:
    """All images of a folder, by name: (H, W) where all are grey, else (H, W, 3); other files are passed over.

    By rules before 3 transparency is dropped, images stay as they lie, and subfolders are not looked into; see
    `tuner.data.image_folders` for what holds since.
    """
    if spec.label not in (None, BY_FOLDER) or (spec.label is not None and rules < TYPED):
        raise DataError(f"data.label of a folder of images must be {BY_FOLDER}, the class folders, got {spec.label}.")
    return _read_before(path) if rules < TYPED else _read(path, spec.label is not None)


def _read(path: Path, labelled: bool) -> Read:
    folder, images, notes = read_folder(path)
    return _rows(images)._replace(labels=folder.labels() if labelled else None, notes=notes)


def _read_before(path: Path) -> Read:
    files = image_files(path)
    first = read_image(files[0])
    images = [first, *(read_image(file, (files[0].name, first.shape)) for file in files[1:])]
    coloured = any(image.ndim == 3 for image in images)
    images = [np.repeat(image[..., None], 3, axis=2) if coloured and image.ndim == 2 else image for image in images]
    return _rows(np.stack(images))


def _rows(images: NDArray[np.generic]) -> Read:
    shape = images.shape[1:]
    names = tuple("p" + "_".join(map(str, place)) for place in np.ndindex(*shape))
    return Read(images.reshape(len(images), -1).astype(np.float64), names, shape, is_image=True)


def image_files(path: Path) -> list[Path]:
    """A folder's images by name.

    Raises:
        DataError: there is none.
    """
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS and file.is_file())
    if not files:
        raise DataError("must hold .png or .jpg files, got none.")
    return files


def read_image(file: Path, like: tuple[str, tuple[int, ...]] | None = None) -> NDArray[np.generic]:
    """An image's pixels; its size is held against that of the image `like` (name, shape) before it takes any memory."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - only this source needs it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=["PNG", "JPEG"]) as image:
                if like is not None and image.size[::-1] != like[1][:2]:
                    raise DataError(
                        f"its images must be of one size, got {_size(like[1])} ({like[0]})"
                        f" and {_size(image.size[::-1])} ({file.name})."
                    )
                grey = image.mode in ("1", "L", "LA", "I", "I;16", "I;16B", "F")
                plain = (
                    image if image.mode.startswith("I") or image.mode == "F" else image.convert("L" if grey else "RGB")
                )
                return np.asarray(plain)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{file.name}: must be an image of a usual size, got a huge one.") from None
    except MemoryError:
        raise DataError(f"{file.name}: must be a whole image that fits into memory, got one that does not.") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].replace(str(file), file.name)[:200]
        raise DataError(f"{file.name}: must be a whole PNG or JPEG image, got: {reason}") from None


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
