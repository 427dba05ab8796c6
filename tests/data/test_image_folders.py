"""Claims about folders of images under rules 3; the images are made by Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tuner.data.blocks import Selection, read_blocks
from tuner.data.readers import Dataset, load
from tuner.data.sources import Sources
from tuner.errors import DataError
from tuner.spec.data import DataSpec
from tuner.spec.rules import TYPED

DRAWS = np.random.default_rng(0)
GREY = DRAWS.integers(0, 256, (6, 5, 7), dtype=np.uint8)
COLOURS = DRAWS.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
ALPHA = np.linspace(0, 255, 35).astype(np.uint8).reshape(5, 7)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    return made


def read(folder: Path, label: str | None = None, rules: int = TYPED) -> Dataset:
    return load(DataSpec(source=folder.name, label=label), Sources(folder.parent), rules)


def fill(folder: Path, count: int = 4) -> None:
    for number in range(count):
        Image.fromarray(GREY[number]).save(folder / f"{number}.png")


def test_a_turned_photo_stands_upright(folder: Path) -> None:
    """All eight EXIF orientations of one picture are read as the one picture; the older rules read them as they lie."""
    lying = {
        1: COLOURS[0],
        2: COLOURS[0][:, ::-1],
        3: COLOURS[0][::-1, ::-1],
        4: COLOURS[0][::-1],
        5: COLOURS[0].swapaxes(0, 1),
        6: COLOURS[0][:, ::-1].swapaxes(0, 1),
        7: COLOURS[0][::-1, ::-1].swapaxes(0, 1),
        8: COLOURS[0][::-1].swapaxes(0, 1),
    }
    for orientation, pixels in lying.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{orientation}.png", exif=exif)
    Image.fromarray(COLOURS[1]).save(folder / "9.png")
    made = read(folder)
    np.testing.assert_array_equal(made.values[:8].reshape(8, 5, 7, 3), np.tile(COLOURS[0], (8, 1, 1, 1)))
    assert made.notes == ("Turned upright, as their EXIF orientation says: 7 images.",)
    with pytest.raises(DataError, match="must be of one size"):
        read(folder, rules=TYPED - 1)


def test_transparency_is_laid_on_white(folder: Path) -> None:
    """Of colours, of grey and of palettes, as the formula says to a rounding; opaque ones stay and are not counted."""
    rgba = np.dstack([COLOURS[0], ALPHA])
    Image.fromarray(rgba).save(folder / "a.png")
    Image.fromarray(np.dstack([GREY[0], ALPHA])).save(folder / "b.png")
    Image.fromarray(np.dstack([COLOURS[1], np.full((5, 7), 255, np.uint8)])).save(folder / "c.png")
    palette = Image.fromarray(GREY[1] % 2).convert("P")
    palette.putpalette([200, 0, 0, 0, 100, 0])
    palette.save(folder / "d.png", transparency=1)
    made = read(folder)
    values, share = made.values.reshape(4, 5, 7, 3), (ALPHA / 255)[..., None]
    np.testing.assert_allclose(values[0], COLOURS[0] * share + 255 * (1 - share), atol=1)
    np.testing.assert_allclose(values[1], (GREY[0][..., None] * share + 255 * (1 - share)).repeat(3, 2), atol=1)
    np.testing.assert_array_equal(values[2], COLOURS[1])
    np.testing.assert_array_equal(values[3], np.where((GREY[1] % 2)[..., None], 255, [200, 0, 0]))
    assert made.notes == ("Laid on white where they are transparent: 3 images.",)


def test_depths_are_kept_and_never_mixed(folder: Path) -> None:
    """16-bit grey keeps its values; 8 and 16 bits together are refused, and so are 16 bits a colour."""
    deep = DRAWS.integers(0, 65536, (3, 5, 7)).astype(np.uint16)
    for number, pixels in enumerate(deep):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    np.testing.assert_array_equal(read(folder).values.reshape(3, 5, 7), deep)
    for name in "xy":
        Image.fromarray(GREY[0]).save(folder / f"{name}.png")
    with pytest.raises(DataError, match=r"must be of one depth, got 16 bits \(0.png\) and 8 bits \(x.png, y"):
        read(folder)
    (folder / "z.png").write_bytes(wide_png(deep[0]))
    with pytest.raises(DataError, match=r"images: z.png: must be an image of 8 bits a colour .* got 16 bits a colour"):
        read(folder)


def wide_png(grey: np.ndarray) -> bytes:
    """A PNG of 16-bit colours, which Pillow cannot write."""
    import struct
    import zlib

    height, width = grey.shape
    rows = b"".join(b"\0" + row.astype(">u2").repeat(3).tobytes() for row in grey)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_what_is_passed_over_is_listed(folder: Path) -> None:
    """TIFFs and notes by name; hidden files, which may end as images do, by number."""
    fill(folder)
    Image.fromarray(GREY[4]).save(folder / "more.tiff")
    (folder / "notes.txt").write_text("x")
    (folder / "._3.png").write_bytes(b"macOS")
    (folder / ".DS_Store").write_bytes(b"x")
    made = read(folder)
    assert len(made.values) == 4
    assert made.notes == (
        "Passed over, for images end in .png, .jpg, .jpeg: more.tiff, notes.txt.",
        "Passed over: 2 hidden files.",
    )


def test_all_damaged_files_are_named_at_once(folder: Path) -> None:
    """Five by name and all by number; one alone with its reason."""
    fill(folder, 6)
    whole = (folder / "0.png").read_bytes()
    (folder / "1.png").write_bytes(whole[:60])
    with pytest.raises(DataError, match=r"images: 1\.png: must be a whole PNG or JPEG image, got "):
        read(folder)
    for number in range(7):
        (folder / f"bad{number}.png").write_bytes(whole[: 20 + number])
    with pytest.raises(DataError) as refused:
        read(folder)
    said = str(refused.value)
    assert said.startswith("images: 8 of 13 images must each be a whole PNG or JPEG image: 1.png (")
    assert said.endswith("and 3 more.")
    assert all(f"bad{number}.png" in said for number in range(4))


def test_class_folders_are_labels_where_that_is_asked(folder: Path) -> None:
    """Without a label their images are read all the same; beside others, or further down, they are refused."""
    for place, name in enumerate(("dogs", "cats", "cats", "dogs")):
        (folder / name).mkdir(exist_ok=True)
        Image.fromarray(GREY[place]).save(folder / name / f"{place}.png")
    made = read(folder, "folder")
    assert made.labels is not None
    assert (made.labels.name, made.labels.classes) == ("folder", ("cats", "dogs"))
    assert made.labels.codes.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(made.values.reshape(4, 5, 7), GREY[[1, 2, 0, 3]])
    assert read(folder).labels is None
    with pytest.raises(DataError, match=r"must hold \.png or \.jpg files, got none"):
        read(folder, rules=TYPED - 1)
    fill(folder, 1)
    with pytest.raises(DataError, match=r"at one level, got 1 beside each other and 4 in folders \(cats, dogs\)"):
        read(folder)
    (folder / "0.png").unlink()
    (folder / "cats" / "old").mkdir()
    Image.fromarray(GREY[0]).save(folder / "cats" / "old" / "1.png")
    with pytest.raises(DataError, match=r"at most one folder down, got cats/old/1\.png"):
        read(folder)


@pytest.mark.parametrize(
    ("label", "rules", "said"),
    [
        ("kind", TYPED, "data.label of a folder of images must be folder, the class folders, got kind"),
        ("folder", TYPED - 1, "data.label of a folder of images must be folder"),
        ("folder", TYPED, "needs a folder of images for each class, got images beside each other"),
    ],
)
def test_labels_that_a_folder_does_not_have_are_refused(folder: Path, label: str, rules: int, said: str) -> None:
    fill(folder)
    with pytest.raises(DataError, match=said):
        read(folder, label, rules)


def test_a_link_in_a_class_folder_cannot_leave_the_data_root(folder: Path, tmp_path_factory) -> None:
    """As one in the folder itself cannot."""
    outside = tmp_path_factory.mktemp("outside") / "x.png"
    Image.fromarray(GREY[0]).save(outside)
    (folder / "cats").mkdir()
    fill(folder / "cats")
    (folder / "cats" / "x.png").symlink_to(outside)
    with pytest.raises(DataError, match="inside the data root"):
        load(DataSpec(source="images"), Sources(folder.parent, folder.parent))
    (folder / "cats").rename(folder.parent / "cats")
    (folder / "cats").symlink_to(folder.parent / "cats")  # inside the root, with a link in it that leads out
    with pytest.raises(DataError, match="inside the data root"):
        load(DataSpec(source="images"), Sources(folder.parent, folder.parent))


def test_applied_images_are_read_as_they_were_for_training(folder: Path) -> None:
    """Upright, from class folders, all faults of a block at once; an export of older rules reads them as they lie."""
    (folder / "cats").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.ascontiguousarray(GREY[0][::-1, ::-1])).save(folder / "cats" / "a.png", exif=exif)
    Image.fromarray(GREY[1]).save(folder / "cats" / "b.png")
    names = tuple(map(str, range(35)))
    block = next(read_blocks(str(folder), Selection(names, (5, 7), None, ("file",), upright=True)))
    np.testing.assert_array_equal(block.values.reshape(2, 5, 7), GREY[:2])
    assert block.kept["file"].tolist() == ["cats/a.png", "cats/b.png"]
    before = next(read_blocks(str(folder / "cats"), Selection(names, (5, 7))))
    np.testing.assert_array_equal(before.values[0].reshape(5, 7), GREY[0][::-1, ::-1])
    for name in ("a", "b"):
        (folder / "cats" / f"{name}.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"2 of 2 images must each be a whole PNG or JPEG image: cats/a.png"):
        next(read_blocks(str(folder), Selection(names, (5, 7), upright=True)))
