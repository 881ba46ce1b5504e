"""Photographs turned as the camera was held, in operators of TensorFlow alone."""

import tensorflow as tf

# Markers of JPEG: those from `_ABOUT` on say something about a picture, and come first.
_START, _ABOUT, _EXIF, _FILL = 0xFFD8, 0xFFE0, 0xFFE1, 0xFFFF
_EXIF_NAME = 0x45786966  # "Exif"
_HEADERS = (0x49492A00, 0x4D4D002A)  # "II*", small bytes first, and "MM*", large ones.
_TAG, _LONG = 0x0112, 4  # Of EXIF: the orientation, and numbers of 4 bytes, not 2.


def decode_upright(contents):
    """Decodes an image file of any kind, and turns JPEGs as their EXIF data say.

    `tf.io.decode_image` leaves a photograph as the sensor lay in the camera. What can
    be decoded but has no orientation, or a broken one, stays as it is.

    Args:
        contents: String tensor, the bytes of a JPEG, PNG, BMP or GIF file; of an
            animation the first picture counts.

    Returns:
        uint8 tensor `(height, width, 3)`.
    """
    # BMP and GIF files are not decoded to one channel.
    image = tf.io.decode_image(contents, 3, expand_animations=False)
    number = orientation(contents)
    image = tf.cond(number == 1, lambda: image, lambda: turned(image, number))
    return tf.ensure_shape(image, (None, None, 3))


def turned(image, number):
    """Turns an image `(height, width, channels)` by an orientation of EXIF, 1 to 8."""
    transposed = tf.where(number >= 5, [1, 0, 2], [0, 1, 2])
    down = tf.where(_is_one_of(number, (3, 4, 7, 8)), -1, 1)
    right = tf.where(_is_one_of(number, (2, 3, 6, 7)), -1, 1)
    return tf.transpose(image, transposed)[::down, ::right]


def orientation(contents):
    """Reads the EXIF orientation of a JPEG file, 1 to 8; 1, upright, of any other.

    Args:
        contents: String tensor, the bytes of a file.

    Returns:
        int32 tensor.
    """
    # Zeros at the end, which stand for all behind it, are neither markers nor tags.
    file = tf.io.decode_raw(tf.strings.join([contents, bytes(16)]), tf.uint8)

    def is_exif(place):
        named = _number(file, place + 4, 4) == _EXIF_NAME
        return (_number(file, place, 2) == _EXIF) & named

    def to_be_passed(place):
        return (_number(file, place, 2) >= _ABOUT) & ~is_exif(place)

    def passed(place):
        is_fill = _number(file, place, 2) == _FILL
        length = 2 + _number(file, place + 2, 2)
        return (place + tf.where(is_fill, tf.ones_like(length), length),)

    is_jpeg = _number(file, 0, 2) == _START
    place = tf.where(is_jpeg, tf.constant(2, tf.int64), tf.size(file, tf.int64))
    (place,) = tf.while_loop(to_be_passed, passed, (place,))
    upright = tf.constant(1, tf.int64)
    value = tf.cond(is_exif(place), lambda: _tagged(file, place + 10), lambda: upright)
    return tf.cast(tf.where((value >= 1) & (value <= 8), value, upright), tf.int32)


def _tagged(file, start):
    """The orientation that the TIFF structure at `start` holds, or 0."""
    header = _number(file, start, 4)

    def number(place, count):
        return _number(file, place, count, header == _HEADERS[1])

    directory = start + number(start + 4, 4)
    entries = directory + 2 + 12 * tf.range(number(directory, 2))
    entry = entries[number(entries, 2) == _TAG][:1]
    is_long = number(entry + 2, 2) == _LONG
    values = tf.where(is_long, number(entry + 8, 4), number(entry + 8, 2))
    is_known = (header == _HEADERS[0]) | (header == _HEADERS[1])
    return tf.where(is_known, tf.reduce_sum(values), 0)


def _number(file, places, count, is_big=True):
    """Unsigned integers of `count` bytes at some places in a file, as int64."""
    offsets = tf.range(count, dtype=tf.int64)
    places = tf.expand_dims(tf.convert_to_tensor(places, tf.int64), -1) + offsets
    read = tf.gather(file, tf.minimum(places, tf.size(file, tf.int64) - 1))
    shifts = 8 * tf.where(is_big, offsets[::-1], offsets)
    return tf.reduce_sum(tf.bitwise.left_shift(tf.cast(read, tf.int64), shifts), -1)


def _is_one_of(number, numbers):
    return tf.reduce_any(tf.equal(number, numbers))
