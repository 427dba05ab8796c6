"""A folder of PNG and JPEG files as rows, since rules 3: what is in it, each image upright on white, all faults told.

Images lie beside each other, or in one folder for each class; not both. `data.label: folder` takes the classes' names
as labels. Hidden files (`._3.png`, which macOS leaves) and files of other kinds are passed over with a word.

An image is turned as its EXIF orientation says, transparency is laid on white, and palettes become colours. 16-bit grey
keeps its values; 16-bit colours are refused, for Pillow reads half of their bits, and so are 8 and 16 bits together.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from tuner.data.labels import Labels
from tuner.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS: Final = (".png", ".jpg", ".jpeg")
BY_FOLDER: Final = "folder"  # what `data.label` names the class folders by
_NAMED: Final = 5  # files that a sentence names
_ORIENTATION: Final = 0x0112
_ON_ITS_SIDE: Final = (5, 6, 7, 8)  # orientations that exchange width and height
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_COLOURS: Final = (2, 4, 6)  # PNG's colour types of more than one channel


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The images of a folder.

    Attributes:
        files: by name.
        names: of each, below the folder: `3.png`, `cats/3.png`.
        notes: what was passed over, a sentence each.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]

    def labels(self) -> Labels:
        """The folder of each image.

        Raises:
            DataError: the images are in no folders, or in one alone.
        """
        folders = [name.rpartition("/")[0] for name in self.names]
        if not all(folders):
            raise DataError("data.label folder needs a folder of images for each class, got images beside each other.")
        classes = sorted(set(folders))
        place = {name: number for number, name in enumerate(classes)}
        return Labels.written(BY_FOLDER, classes, np.array([place[name] for name in folders]))


@dataclass(frozen=True, slots=True)
class Picture:
    """An image's pixels, (H, W) or (H, W, 3), and what was done to it."""

    pixels: NDArray[np.generic]
    turned: bool = False
    on_white: bool = False

    @property
    def bits(self) -> int:
        """Bits of a channel, 8 or 16."""
        return 8 if self.pixels.dtype == np.uint8 else 16


@dataclass(slots=True)
class Pictures:
    """Images read one after the other; what is wrong with any of them is told for all of them at once.

    Attributes:
        like: whose size all must have, in words, and that (H, W); by default the first one's.
        bits: whose depth all must have, and that.
        pictures: those that are right so far.
    """

    like: tuple[str, tuple[int, ...]] | None = None
    bits: tuple[str, int] | None = None
    pictures: list[Picture] = field(default_factory=list)
    _faults: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    _count: int = 0

    def add(self, file: Path, name: str) -> None:
        """Read one, or note what is wrong with it."""
        self._count += 1
        try:
            picture = read_picture(file, self.like and self.like[1])
            if self.bits is not None and picture.bits != self.bits[1]:
                raise _Fault("depth", f"{picture.bits} bits")
        except _Fault as fault:
            self._faults.setdefault(fault.kind, []).append((name, str(fault)))
            return
        self.like = self.like or (name, picture.pixels.shape[:2])
        self.bits = self.bits or (name, picture.bits)
        self.pictures.append(picture)

    def check(self) -> None:
        """Tell of the faults.

        Raises:
            DataError: there are any; the sentence names the first five files of a kind and counts them.
        """
        for kind in _KINDS:
            if kind in self._faults:
                raise DataError(self._sentence(kind, self._faults[kind]))

    def _sentence(self, kind: str, faults: Sequence[tuple[str, str]]) -> str:
        if kind in ("size", "depth"):
            assert self.like is not None
            name, own = self.like[0], _size(self.like[1])
            if kind == "depth":
                assert self.bits is not None
                name, own = self.bits[0], f"{self.bits[1]} bits"
            other, others = faults[0][1], _named([faulty for faulty, _ in faults])
            return f"its images must be of one {kind}, got {own} ({name}) and {other} ({others})."
        if len(faults) == 1:
            return f"{faults[0][0]}: must be {_KINDS[kind]}, got {faults[0][1]}"
        listed = _named([f"{name} ({said.rstrip('.')})" for name, said in faults])
        return f"{len(faults)} of {self._count} images must each be {_KINDS[kind]}: {listed}."

    def notes(self) -> tuple[str, ...]:
        """What was done to the images, a sentence each."""
        turned, on_white = (sum(getattr(one, what) for one in self.pictures) for what in ("turned", "on_white"))
        return (
            *((f"Turned upright, as their EXIF orientation says: {_counted(turned)}.",) if turned else ()),
            *((f"Laid on white where they are transparent: {_counted(on_white)}.",) if on_white else ()),
        )


_KINDS: Final = {  # in the order in which they are told
    "damaged": "a whole PNG or JPEG image",
    "huge": "an image of a usual size",
    "colours": "an image of 8 bits a colour (convert it) or 16-bit grey, or a .npy array of all",
    "size": "",
    "depth": "",
}


class _Fault(Exception):  # noqa: N818 - what is wrong with one file; the folder's error is made of all
    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind


def image_folder(path: Path) -> ImageFolder:
    """The images of a folder: beside each other, or one folder down.

    Raises:
        DataError: there are none, or some at each level.
    """
    entries = sorted(path.iterdir())
    seen, hidden = _visible(entries)
    folders = [entry for entry in seen if entry.is_dir()]
    beside = [entry for entry in seen if not entry.is_dir()]
    within, hidden_within = _visible(sorted(file for folder in folders for file in folder.iterdir()))
    images, inside = _images(beside), _images(within)
    if images and inside:
        raise DataError(
            f"must hold its images at one level, got {len(images)} beside each other and {len(inside)} in folders"
            f" ({_named([folder.name for folder in folders])}); name one folder, or move them."
        )
    _refuse_deeper(path, within)
    files = sorted(images or inside, key=lambda file: file.relative_to(path).as_posix())
    others = [file for file in (*beside, *within) if file not in set(files)]
    if not files:
        raise DataError(f"must hold .png or .jpg files, got none{_beside(path, others)}.")
    names = tuple(file.relative_to(path).as_posix() for file in files)
    return ImageFolder(tuple(files), names, _passed_over(path, others, len(hidden) + len(hidden_within)))


def _visible(entries: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """What is to be seen, and what systems leave behind."""
    parts: tuple[list[Path], list[Path]] = [], []
    for entry in entries:
        parts[entry.name.startswith(".") or entry.name == "__MACOSX"].append(entry)
    return parts


def _images(files: Iterable[Path]) -> list[Path]:
    return [file for file in files if file.suffix.lower() in ENDINGS and file.is_file()]


def _refuse_deeper(path: Path, within: Sequence[Path]) -> None:
    for folder in within:
        if folder.is_dir() and (deeper := _images(_visible(sorted(folder.iterdir()))[0])):
            raise DataError(
                "must hold its images at most one folder down, got"
                f" {deeper[0].relative_to(path).as_posix()}; name a folder further down."
            )


def _beside(path: Path, others: Sequence[Path]) -> str:
    return f" beside {_named([file.relative_to(path).as_posix() for file in others])}" if others else ""


def _passed_over(path: Path, others: Sequence[Path], hidden: int) -> tuple[str, ...]:
    said = []
    if others:
        listed = _named([file.relative_to(path).as_posix() for file in others])
        said.append(f"Passed over, for images end in {', '.join(ENDINGS)}: {listed}.")
    if hidden:
        said.append(f"Passed over: {hidden} hidden file{'s' * (hidden != 1)}.")
    return tuple(said)


def _named(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _counted(images: int) -> str:
    return f"{images} image{'s' * (images != 1)}"


def read_folder(path: Path) -> tuple[ImageFolder, NDArray[np.generic], tuple[str, ...]]:
    """All images of a folder, (N, H, W) where all are grey, else (N, H, W, 3), and what was done to them.

    Raises:
        DataError: there are none, or some are damaged or do not fit; one sentence for all of them.
    """
    folder, read = image_folder(path), Pictures()
    for file, name in zip(folder.files, folder.names, strict=True):
        read.add(file, name)
    read.check()
    images = [picture.pixels for picture in read.pictures]
    if any(image.ndim == 3 for image in images):
        images = [coloured(image) for image in images]
    return folder, np.stack(images), (*folder.notes, *read.notes())


def coloured(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """A grey image (H, W) as one of three channels; a coloured one as it is."""
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def read_picture(file: Path, size: tuple[int, ...] | None = None) -> Picture:
    """One image, upright and on white; its size is held against `size` (H, W) before it takes any memory."""
    with _opened(file) as image:
        if size is not None and tuple(size) not in (image.size, image.size[::-1]):
            raise _Fault("size", _size(image.size[::-1]))
        if _is_wide(file):
            raise _Fault("colours", "16 bits a colour, of which half would be lost.")
        orientation = image.getexif().get(_ORIENTATION, 1)  # for which Pillow decodes a PNG
        upright = image.size if orientation in _ON_ITS_SIDE else image.size[::-1]
        if size is not None and upright != tuple(size):
            raise _Fault("size", _size(upright))
        return _upright(image, turned=orientation not in (0, 1))


def _upright(image: Image, turned: bool) -> Picture:
    from PIL import ImageOps  # noqa: PLC0415 - only this source needs it

    right = ImageOps.exif_transpose(image)
    if right.mode.startswith("I") or right.mode == "F":
        return Picture(np.asarray(right), turned)
    grey = right.mode in ("1", "L", "LA", "La")
    if not right.has_transparency_data:
        return Picture(np.asarray(right.convert("L" if grey else "RGB")), turned)
    return _on_white(right.convert("RGBA"), grey, turned)


def _on_white(image: Image, grey: bool, turned: bool) -> Picture:
    from PIL import Image as Images  # noqa: PLC0415

    laid = Images.alpha_composite(Images.new("RGBA", image.size, "white"), image)
    seen = np.asarray(image)[..., 3].min() < 255
    return Picture(np.asarray(laid.convert("L" if grey else "RGB")), turned, on_white=bool(seen))


@contextmanager
def _opened(file: Path) -> Iterator[Image]:
    """An image; what opening and decoding it raises becomes a fault."""
    from PIL import Image  # noqa: PLC0415 - only this source needs it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=["PNG", "JPEG"]) as image:
                yield image
    except _Fault:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _Fault("huge", "a huge one.") from None
    except MemoryError:
        raise _Fault("damaged", "one that does not fit into memory.") from None
    except Exception as error:
        # Decoders raise many kinds of errors on damaged files, and all such files are to be named at once.
        reason = (str(error).splitlines() or [type(error).__name__])[0].replace(str(file), file.name)[:200]
        raise _Fault("damaged", f"{reason.rstrip('.')}.") from None


def _is_wide(file: Path) -> bool:
    """Whether a PNG has 16 bits a channel and several of them: depth and colour type are its bytes 24 and 25."""
    with file.open("rb") as content:
        head = content.read(26)
    return head.startswith(_PNG) and head[24] == 16 and head[25] in _COLOURS


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]} x {shape[0]}"
