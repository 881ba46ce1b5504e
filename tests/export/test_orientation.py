import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_selfkd.export.orientation import decode_upright, orientation, turned

read = tf.function(orientation, input_signature=[tf.TensorSpec((), tf.string)])
LARGE_FIRST, SMALL_FIRST = b"MM", b"II"


def picture():
    """Other colours in every quarter, so that each orientation looks different."""
    colours = np.random.default_rng(0).integers(256, size=(2, 2, 3), dtype="uint8")
    return Image.fromarray(colours.repeat(8, 0).repeat(16, 1))


def jpeg():
    file = io.BytesIO()
    picture().save(file, "jpeg", quality=95)
    return file.getvalue()


def exif(number, order, before=(), kind=3, first=8):
    """The structure of EXIF, with other entries before the orientation's."""
    sign = "<" if order == SMALL_FIRST else ">"
    value = struct.pack(f"{sign}H2x" if kind == 3 else f"{sign}I", number)
    entries = [struct.pack(f"{sign}HHI", tag, 3, 1) + bytes(4) for tag in before]
    entries.append(struct.pack(f"{sign}HHI", 0x0112, kind, 1) + value)
    count = struct.pack(f"{sign}H", len(entries))
    header = order + struct.pack(f"{sign}HI", 42, first)
    return header + bytes(first - 8) + count + b"".join(entries) + bytes(4)


def segment(marker, content):
    return struct.pack(">HH", marker, len(content) + 2) + content


def with_segments(*segments):
    return jpeg()[:2] + b"".join(segments) + jpeg()[2:]


def with_exif(content):
    return with_segments(segment(0xFFE1, b"Exif\0\0" + content))


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("order", [LARGE_FIRST, SMALL_FIRST])
def test_photographs_are_turned_as_pillow_turns_them(number, order):
    file = with_exif(exif(number, order))
    with Image.open(io.BytesIO(file)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened), "float32")
    image = decode_upright(file).numpy()
    assert image.dtype == "uint8"
    # The two decoders of JPEG differ by a few steps.
    np.testing.assert_allclose(image, expected, atol=6)


@pytest.mark.parametrize("number", range(1, 9))
def test_pixels_are_turned_as_pillow_turns_them(number):
    tags = Image.Exif()
    tags[0x0112] = number
    image = picture()
    image.info["exif"] = tags.tobytes()
    expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(turned(np.asarray(picture()), number), expected)


@pytest.mark.parametrize(
    "file",
    [
        with_exif(exif(6, LARGE_FIRST, before=(0x010E, 0x010F, 0x0110))),
        with_exif(exif(6, SMALL_FIRST, before=(0x010F,), first=40)),
        with_exif(exif(6, LARGE_FIRST, kind=4)),
        with_exif(exif(6, SMALL_FIRST, kind=4)),
        with_segments(
            segment(0xFFE0, b"JFIF\0" + bytes(9)),
            segment(0xFFE1, b"http://ns.adobe.com/xap/1.0/\0"),
            segment(0xFFE2, bytes(60_000)),
            b"\xff",  # A marker may have any number of these before it.
            segment(0xFFE1, b"Exif\0\0" + exif(6, LARGE_FIRST)),
        ),
    ],
    ids=["entries", "far", "long", "little long", "segments"],
)
def test_the_orientation_is_found_wherever_it_stands(file):
    assert read(file) == 6
    with Image.open(io.BytesIO(file)) as opened:
        assert opened.getexif()[0x0112] == 6


def encoded(kind):
    file = io.BytesIO()
    picture().save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\xff",
        b"no image",
        jpeg(),
        *map(encoded, ("png", "bmp", "gif")),
        with_exif(exif(0, LARGE_FIRST)),
        with_exif(exif(9, LARGE_FIRST)),
        with_exif(exif(6, b"XX")),
        with_exif(b""),
        # Behind the start of the picture's data there are no more segments.
        jpeg() + segment(0xFFE1, b"Exif\0\0" + exif(6, LARGE_FIRST)),
        b"PNG" + segment(0xFFE1, b"Exif\0\0" + exif(6, LARGE_FIRST)),
    ],
)
def test_what_has_no_orientation_is_upright(file):
    assert read(file) == 1


def test_a_file_cut_off_anywhere_is_read_without_harm():
    file = with_exif(exif(6, LARGE_FIRST, before=(0x010F,)))
    end = file.index(b"\x01\x12\x00\x03") + 10
    found = [int(read(file[:length])) for length in range(end + 2)]
    assert found == [1] * end + [6] * 2


def test_spoilt_bytes_are_read_without_harm():
    file = with_exif(exif(6, SMALL_FIRST))
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(200):
        spoilt = bytearray(file)
        spoilt[rng.integers(48)] = rng.integers(256)
        found.add(int(read(bytes(spoilt))))
    assert found <= set(range(1, 9))
