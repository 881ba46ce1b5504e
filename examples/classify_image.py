"""Classifies images with an exported file, on a device without TensorFlow or Keras.

  python examples/classify_image.py student.tflite photo.jpg other.png

needs ai-edge-litert, NumPy and Pillow only. Prints the five likeliest classes of each
image; for a segmenter it writes photo.jpg-mask.png in colours, and prints how much of
the image each class covers. Names of the classes and the normalization come from the
.json file that `export_student` writes beside student.tflite. Photographs are turned by
their EXIF data.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps


class Classifier:
    """A LiteRT file and what is written beside it.

    Args:
        path: Path of the `.tflite` file.
    """

    def __init__(self, path):
        known = beside(pathlib.Path(path).with_suffix(".json"))
        self.labels = known.get("labels")
        normalization = known.get("normalization", {"mean": 0.0, "std": 1.0})
        self.mean, self.std = normalization["mean"], normalization["std"]
        self.interpreter = Interpreter(model_path=str(path))
        (entry,) = self.interpreter.get_input_details()
        self.batch_size, *self.shape = entry["shape"].tolist()
        if len(self.shape) != 3 or self.shape[2] not in (1, 3):
            raise ValueError(
                "Expected a file that takes images of 1 or 3 channels. Received: "
                f"{path}, which takes {entry['shape'].tolist()}"
            )
        self.interpreter.allocate_tensors()
        (result,) = self.interpreter.get_output_details()
        classes = np.issubdtype(result["dtype"], np.integer)
        classes = classes and not result["quantization"][0]
        self.output = known.get("output", "argmax" if classes else "logits")

    @property
    def returns_masks(self):
        """Whether the file says of each pixel what it is."""
        (result,) = self.interpreter.get_output_details()
        return len(result["shape"]) > (1 if self.output == "argmax" else 2)

    def __call__(self, image):
        """Returns the file's output for a `PIL.Image`: floats, or integer classes."""
        (entry,) = self.interpreter.get_input_details()
        (result,) = self.interpreter.get_output_details()
        height, width, channels = self.shape
        image = in_8_bits(image).convert("L" if channels == 1 else "RGB")
        if self.returns_masks:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        else:  # The middle of it, as in training.
            image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, "float32").reshape(1, *self.shape)
        values = quantized((pixels - self.mean) / self.std, entry)
        values = values.repeat(self.batch_size, axis=0)
        self.interpreter.set_tensor(entry["index"], values)
        self.interpreter.invoke()
        return dequantized(self.interpreter.get_tensor(result["index"]), result)[0]

    def name(self, label):
        """Returns the name of a class."""
        return self.labels[label] if self.labels else f"class {label}"


def beside(path):
    """Returns what the `.json` file says, if there is one."""
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file ({error})") from error


def in_8_bits(image):
    """Returns an image whose pixels go from 0 to 255, as 16-bit ones do not."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image, "int64") // 257).astype("uint8"))


def quantized(values, tensor):
    """Brings values to the dtype of a file's input."""
    scale, zero_point = tensor["quantization"]
    if scale:
        values = values / scale + zero_point
    if np.issubdtype(tensor["dtype"], np.integer):
        limits = np.iinfo(tensor["dtype"])
        values = np.clip(np.round(values), limits.min, limits.max)
    return values.astype(tensor["dtype"])


def dequantized(values, tensor):
    """Brings values of a file's output to floats, unless they are classes."""
    scale, zero_point = tensor["quantization"]
    return (values.astype("float32") - zero_point) * scale if scale else values


def probabilities(output, kind):
    """Returns the probability of each class.

    Args:
        output: Array `(classes,)`, or one number.
        kind: `"logits"` or `"softmax"`: what it holds.
    """
    if kind == "softmax":
        return output
    if output.shape == (1,):  # The second of two logits, whose first is 0.
        output = np.array([0.0, output[0]])
    odds = np.exp(output - output.max())
    return odds / odds.sum()


def likeliest(classifier, output, count):
    """Returns a line for each of the likeliest classes."""
    if classifier.output == "argmax":
        return [classifier.name(int(output))]
    shares = probabilities(output, classifier.output)
    best = np.argsort(-shares, kind="stable")[:count]
    return [f"{100 * shares[label]:6.2f} %  {classifier.name(label)}" for label in best]


def mask_of(output):
    """Returns the class of each pixel, from logits, probabilities or classes."""
    if np.issubdtype(output.dtype, np.integer):
        return output
    return output.argmax(-1) if output.shape[-1] > 1 else (output[..., 0] > 0) * 1


def coloured(mask, size):
    """Returns a mask as a `PIL.Image` of a size, a colour for each class."""
    steps = np.arange(256)
    palette = np.stack([steps * 67 + 31, steps * 151 + 97, steps * 211 + 13], -1) % 256
    picture = Image.fromarray(mask.astype("uint8"), "P")
    picture.putpalette(palette.astype("uint8").ravel().tolist())
    return picture.resize(size, Image.Resampling.NEAREST).convert("RGB")


def covered(classifier, mask):
    """Returns a line for each class in a mask, the largest part first."""
    labels, counts = np.unique(mask, return_counts=True)
    parts = sorted(zip(-counts, labels, strict=True))
    return [
        f"{-100 * count / mask.size:6.2f} %  {classifier.name(label)}"
        for count, label in parts
    ]


def load(path):
    """Reads an image file, turned as the camera was held."""
    with Image.open(path) as opened:
        opened.load()
        return ImageOps.exif_transpose(opened)


def describe(classifier, image, path, count):
    """Returns what to print of an image; writes its mask, if there is one."""
    output = classifier(image)
    if not classifier.returns_masks:
        return likeliest(classifier, output, count)
    mask = mask_of(output)
    target = path.with_name(f"{path.name}-mask.png")
    coloured(mask, image.size).save(target)
    return [*covered(classifier, mask), f"in colours: {target}"]


def main(arguments=None):
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=pathlib.Path, help="the .tflite file")
    parser.add_argument("images", type=pathlib.Path, nargs="+", help="image files")
    parser.add_argument("--top", type=int, default=5, help="number of classes")
    flags = parser.parse_args(arguments)
    if not flags.model.is_file():
        parser.error(f"expected a .tflite file, but {flags.model} is no file")
    try:
        classifier = Classifier(flags.model)
    except ValueError as error:
        parser.error(f"cannot use {flags.model}: {error}")
    failed = 0
    for path in flags.images:
        try:
            image = load(path)
        except (OSError, Image.DecompressionBombError) as error:
            failed += 1
            print(f"{path}: not an image that can be read ({error})", file=sys.stderr)
        else:
            lines = describe(classifier, image, path, flags.top)
            print("\n  ".join([f"{path}:", *lines]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
