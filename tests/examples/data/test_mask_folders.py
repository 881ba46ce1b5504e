import pathlib

import numpy as np
import pytest
from PIL import Image

from examples.data.mask_folders import divided, find_pairs, read_pair

SHARES = {"test": 0.1, "validation": 0.1}


@pytest.fixture
def write(tmp_path):
    """Writes images and masks of the same names; returns their root."""

    def write(images, masks, count=2, suffix=""):
        for folder, end in ((images, ".jpg"), (masks, f"{suffix}.png")):
            (tmp_path / folder).mkdir(parents=True)
            for number in range(count):
                file = tmp_path / folder / f"{number}{end}"
                Image.new("L", (4, 3), number).save(file)
        return tmp_path

    return write


@pytest.mark.parametrize("suffix", ["", "_mask", "_L"])
@pytest.mark.parametrize("val", ["val", "validation"])
@pytest.mark.parametrize(
    ("images", "masks"),
    [("{}", "{}annot"), ("{}/images", "{}/masks"), ("images/{}", "masks/{}")],
)
def test_layouts_with_splits(write, images, masks, val, suffix):
    for split, count in (("train", 3), (val, 1), ("test", 2)):
        root = write(images.format(split), masks.format(split), count, suffix)
    found = find_pairs(root, "refuse", SHARES)
    assert {split: len(pairs) for split, pairs in found.items()} == {
        "train": 3,
        "validation": 1,
        "test": 2,
    }
    image, mask = found["test"][1]
    assert image == root / images.format("test") / "1.jpg"
    assert mask == root / masks.format("test") / f"1{suffix}.png"


@pytest.mark.parametrize("folders", [("images", "masks"), ("train", "trainannot")])
def test_shares_are_set_aside_where_there_is_no_split(write, folders):
    root = write(*folders, count=20)
    found = find_pairs(root, "refuse", {"test": 0.2, "validation": 0.1})
    assert [len(found[split]) for split in ("train", "validation", "test")] == [
        14,
        2,
        4,
    ]
    assert len({image for pairs in found.values() for image, _ in pairs}) == 20
    assert found == find_pairs(root, "refuse", {"test": 0.2, "validation": 0.1})


def test_images_that_are_added_move_few_others():
    pairs = [(pathlib.Path(f"{number:03d}.jpg"), None) for number in range(100)]
    before = set(divided(pairs[:-5], SHARES)["test"])
    assert len(before & set(divided(pairs, SHARES)["test"])) >= len(before) - 2


def test_no_share_is_no_split():
    pairs = [(pathlib.Path(f"{number}.jpg"), None) for number in range(5)]
    found = divided(pairs, {"test": 0.1, "validation": 0.0})
    assert {split: len(some) for split, some in found.items()} == {
        "test": 1,
        "train": 4,
    }


def test_a_mask_of_another_image_is_none_of_this(write):
    root = write("images", "masks", count=2)
    (root / "masks" / "0.png").rename(root / "masks" / "0_2.png")
    with pytest.raises(ValueError, match=r"Missing: .*masks/0.png \(1 in all\)"):
        find_pairs(root, "refuse", SHARES)


def test_error_no_layout(tmp_path):
    with pytest.raises(ValueError, match=r"trainannot/.* or images/ . masks/") as error:
        find_pairs(tmp_path, "refuse", SHARES)
    assert "\n" not in str(error.value)


BITS = np.array([[0, 1], [1, 0]], "uint8")


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (Image.fromarray(BITS.astype(bool)), BITS),
        (Image.fromarray(BITS * 255), BITS * 255),
        (Image.fromarray(BITS.astype("uint16") * 65535), BITS * 65535.0),
        (Image.fromarray(BITS * 255).convert("RGB"), BITS * 255),
        (Image.fromarray(BITS * 255).convert("RGBA"), BITS * 255),
        (Image.fromarray(BITS * 255).convert("LA"), BITS * 255),
        (Image.fromarray(BITS).convert("P"), BITS),
    ],
    ids=lambda value: getattr(value, "mode", ""),
)
def test_grey_masks_of_every_mode(tmp_path, mask, expected):
    Image.new("RGB", (2, 2)).save(tmp_path / "image.png")
    mask.save(tmp_path / "mask.png")
    _, found = read_pair((tmp_path / "image.png", tmp_path / "mask.png"))
    np.testing.assert_array_equal(found[..., 0], expected)


def test_error_a_mask_with_colours(tmp_path):
    Image.new("RGB", (2, 2), "red").save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match=r"grey or with a palette.* of mode RGB"):
        read_pair((tmp_path / "mask.png", tmp_path / "mask.png"))


def test_images_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by 90 degrees clockwise.
    Image.new("RGB", (4, 2)).save(tmp_path / "image.jpg", exif=exif)
    Image.new("L", (2, 4)).save(tmp_path / "mask.png")
    image, mask = read_pair((tmp_path / "image.jpg", tmp_path / "mask.png"))
    assert image.shape[:2] == mask.shape[:2] == (4, 2)
