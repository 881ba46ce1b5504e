import numpy as np
import pytest
from PIL import Image

from examples.data import image_files
from examples.data.image_files import common_size, decode_file, find_images

GREY = np.full((6, 8), 100, "uint8")
COLOUR = np.full((6, 8, 3), 100, "uint8")
NOISE = np.random.default_rng(0).integers(256, size=(6, 8, 3), dtype="uint8")


def write_odd_images(folder):
    """Images that are unusual, but images."""
    Image.fromarray(COLOUR).save(folder / "plain.png")
    Image.fromarray(COLOUR).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(GREY.astype("uint16") * 257).save(folder / "deep.png")
    Image.fromarray(GREY).save(folder / "grey.bmp")
    Image.fromarray(COLOUR).convert("RGBA").save(folder / "alpha.png")
    frames = [Image.fromarray(np.roll(COLOUR, i)) for i in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "plain.png").rename(folder / "really_png.jpg")
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails" / "small.png").write_text("not looked at")


def write_bad_files(folder):
    Image.fromarray(
        np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype="uint8")
    ).save(folder / "whole.jpg")
    content = (folder / "whole.jpg").read_bytes()
    (folder / "whole.jpg").unlink()
    (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no image")
    (folder / "notes.txt").write_text("no image")


def test_odd_images_are_read_as_8_bit_colours(tmp_path):
    write_odd_images(tmp_path)
    (files,) = find_images([tmp_path])
    assert [file.name for file in files] == [
        "alpha.png",
        "cmyk.jpg",
        "deep.png",
        "grey.bmp",
        "moving.gif",
        "really_png.jpg",
    ]
    for file in files:
        image = decode_file(str(file)).numpy()
        assert (image.shape, image.dtype) == ((6, 8, 3), "uint8")
        assert np.all(np.abs(image.astype(int) - 100) < 5), file


def test_photographs_are_turned_as_the_camera_was_held(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6  # The sensor's left is the top.
    stored = GREY.copy()
    stored[:, :4] = 200
    Image.fromarray(stored).save(tmp_path / "photo.jpg", exif=tags, quality=95)
    image = decode_file(str(tmp_path / "photo.jpg")).numpy()
    assert image.shape == (8, 6, 3)
    np.testing.assert_allclose(image[:4], 200.0, atol=8)
    np.testing.assert_allclose(image[4:], 100.0, atol=8)


def test_bad_files_are_left_out_and_named(tmp_path, caplog):
    write_odd_images(tmp_path)
    write_bad_files(tmp_path)
    assert len(find_images([tmp_path], "skip")[0]) == 6
    assert "4 of 10 files" in caplog.text
    for name in ("cut.jpg (", "empty.png (empty)", "text.png (", "notes.txt ("):
        assert name in caplog.text


def test_error_bad_files(tmp_path):
    write_odd_images(tmp_path)
    write_bad_files(tmp_path)
    with pytest.raises(ValueError, match=r"--bad_images=skip.*4 of 10.*cut.jpg"):
        find_images([tmp_path])


def test_names_of_very_many_bad_files_are_cut_short(tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02}.png").touch()
    with pytest.raises(ValueError, match=r"19.png \(empty\), and 10 more"):
        find_images([tmp_path])


def test_trust_goes_by_the_names(tmp_path):
    write_bad_files(tmp_path)
    names = [file.name for file in find_images([tmp_path], "trust")[0]]
    assert names == ["cut.jpg", "empty.png", "text.png"]


@pytest.mark.parametrize("policy", ["skip", "trust"])
def test_error_no_images(tmp_path, policy):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=f"Expected images in {tmp_path}"):
        find_images([tmp_path], policy)


def test_common_size_reads_headers_and_orientation(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # Lies on its side.
    Image.fromarray(COLOUR).save(tmp_path / "upright.jpg")
    Image.fromarray(COLOUR.swapaxes(0, 1)).save(tmp_path / "lying.jpg", exif=exif)
    Image.fromarray(NOISE).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[:60])
    (tmp_path / "other.bmp").write_text("not looked at")
    files = [tmp_path / name for name in ("upright.jpg", "lying.jpg", "cut.png")]
    assert common_size(files) == (6, 8)
    Image.fromarray(COLOUR.swapaxes(0, 1)).save(tmp_path / "tall.png")
    assert common_size([*files, tmp_path / "tall.png", tmp_path / "other.bmp"]) is None


def test_a_file_is_tried_again_only_when_it_has_changed(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_text("no image")
    tried = []
    monkeypatch.setattr(
        image_files, "decode_file", lambda path: tried.append(path) or decode_file(path)
    )
    for _ in range(2):
        with pytest.raises(ValueError, match=r"a\.png"):
            find_images([tmp_path])
    assert len(tried) == 1
    Image.fromarray(GREY).save(tmp_path / "a.png")
    assert find_images([tmp_path]) == [[tmp_path / "a.png"]]
    assert len(tried) == 2
