"""What a LiteRT file may be asked for."""

from keras_selfkd.export.litert import CALIBRATED, QUANTIZATIONS

LEAST_IMAGES = 8  # Fewer leave the ranges of activations to chance.


def check_file_options(path, quantize, representative_data, input_dtype):
    """Refuses what no LiteRT file is written with."""
    if path.suffix != ".tflite":
        raise ValueError(f"Expected `path` to end in .tflite. Received: path={path}")
    if quantize not in QUANTIZATIONS:
        raise ValueError(
            f"Expected `quantize` to be one of {QUANTIZATIONS}. "
            f"Received: quantize={quantize!r}"
        )
    if quantize in CALIBRATED and representative_data is None:
        raise ValueError(
            f"`quantize={quantize!r}` is calibrated on images: pass some of the "
            "training images as `representative_data`. Received: none"
        )
    if input_dtype not in (None, "uint8", "int8"):
        raise ValueError(
            "Expected `input_dtype` to be None, 'uint8' or 'int8'. "
            f"Received: input_dtype={input_dtype!r}"
        )
    if input_dtype is not None and quantize != "int8":
        raise ValueError(
            "Only a file with `quantize='int8'` can take and return integers. "
            f"Received: input_dtype={input_dtype!r}, quantize={quantize!r}"
        )


def check_calibration(quantize, samples):
    """Refuses too few images to calibrate a quantized file on."""
    if quantize in CALIBRATED and len(samples) < LEAST_IMAGES:
        raise ValueError(
            f"Expected at least {LEAST_IMAGES} images to calibrate, "
            "better a few hundred, from all classes. Received: representative_data of "
            f"{len(samples)} images"
        )
