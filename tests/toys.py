"""Tiny students and the data that they can learn in seconds."""

import keras
import numpy as np
from keras import layers

CLASSES = 4
STAGES = (4, 6, 8)
# Two resolutions are the least that every method trains, and soonest traced.
FEW_STAGES = STAGES[1:]


def body(images, dropout=0.0, batch_norm=True, regularizer=None, stages=STAGES):
    """Two or three resolutions of a residual network, without the stem's own."""
    x = images
    for i, channels in enumerate(stages, start=4 - len(stages)):
        conv = {"padding": "same", "kernel_regularizer": regularizer}
        x = layers.Conv2D(channels, 3, strides=2, name=f"down{i}", **conv)(x)
        residual = layers.Conv2D(channels, 3, name=f"conv{i}", **conv)(x)
        if batch_norm:
            residual = layers.BatchNormalization(name=f"bn{i}")(residual)
        x = layers.Add(name=f"add{i}")([x, residual])
        x = layers.ReLU(name=f"out{i}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    return x


def classifier(input_shape=(16, 16, 3), classes=CLASSES, **options):
    images = keras.Input(input_shape, name="images")
    x = layers.GlobalAveragePooling2D(name="pool")(body(images, **options))
    return keras.Model(images, layers.Dense(classes, name="logits")(x), name="toy")


def nested_classifier(input_shape=(16, 16, 3), **options):
    images = keras.Input(input_shape, name="images")
    backbone = keras.Model(images, body(images, **options), name="backbone")
    outer = keras.Input(input_shape, name="outer_images")
    x = layers.GlobalAveragePooling2D(name="pool")(backbone(outer))
    return keras.Model(outer, layers.Dense(CLASSES, name="logits")(x), name="nested")


def segmenter(input_shape=(16, 16, 3), **options):
    """An encoder-decoder with one skip; logits of the images' size."""
    images = keras.Input(input_shape, name="images")
    encoder = keras.Model(images, body(images, **options), name="encoder")
    fine, coarse = (encoder.get_layer(name).output for name in ("out2", "out3"))
    x = layers.Conv2D(6, 1, name="narrow")(layers.UpSampling2D(name="up1")(coarse))
    x = layers.ReLU(name="decoded1")(layers.Add(name="skip")([x, fine]))
    x = layers.Conv2D(6, 3, padding="same", name="conv_up")(layers.UpSampling2D()(x))
    x = layers.ReLU(name="decoded2")(x)
    x = layers.UpSampling2D(input_shape[0] // x.shape[1], name="full")(x)
    logits = layers.Conv2D(CLASSES, 3, padding="same", name="logits")(x)
    return keras.Model(images, logits, name="toy_segmenter")


def class_data(count=16, size=16, seed=0):
    """Images whose class is the quadrant that is bright."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = random.normal(scale=0.1, size=(count, size, size, 3))
    for image, label in zip(images, labels, strict=True):
        rows, columns = divmod(label, 2)
        half = size // 2
        image[rows * half :, columns * half :][:half, :half] += 1.0
    return images.astype("float32"), labels.astype("int32")


def pixel_data(count=16, size=16, seed=0):
    """The same images; a bright pixel is of its image's class, the others of 0."""
    images, labels = class_data(count, size, seed)
    bright = images.mean(-1) > 0.5
    return images, np.where(bright, labels[:, None, None], 0).astype("int32")


def cross_entropy(**options):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **options)
