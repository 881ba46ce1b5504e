"""Classifies images with an exported file, on a device without TensorFlow or Keras.

  python examples/classify_image.py student.tflite photos/a.jpg photos/b.png

needs ai-edge-litert, NumPy and Pillow only. Prints the five likeliest classes of each
image, or of labels that don't exclude each other how likely each is; for a segmenter it
writes a.jpg-mask.png in colours to masks/ beside the file, or to --output, and prints
how much of the image each class covers. Names of the classes, their colours and the
normalization come from the .json file that `export_student` writes beside
student.tflite. Photographs (JPEG) are turned by their EXIF data, as in training.
"""

import argparse
import json
import os
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
        self.multi_label = known.get("multi_label", False)
        unknown = [f"#{n * 0x9E3779 % 2**24:06x}" for n in range(1, 257)]
        self.colors = known.get("colors") or unknown

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


def probabilities(output, kind, multi_label):
    """Returns probabilities of classes, or of labels that don't exclude each other.

    Args:
        output: Array `(..., classes)`; one number stands for the second of two classes.
        kind: `"logits"`, `"softmax"` or `"sigmoid"`: what it holds.
        multi_label: Whether each number is that of a label, alone.
    """
    if kind == "softmax":
        return output
    if kind == "logits" and not multi_label and output.shape[-1] > 1:
        odds = np.exp(output - output.max(-1, keepdims=True))
        return odds / odds.sum(-1, keepdims=True)
    alone = output if kind == "sigmoid" else np.exp(-np.logaddexp(0, -output))
    return alone if multi_label else np.concatenate([1 - alone, alone], -1)


def likeliest(classifier, output, count):
    """Returns a line for each of the likeliest classes."""
    if classifier.output == "argmax":
        return [classifier.name(int(output))]
    shares = probabilities(output, classifier.output, classifier.multi_label)
    best = np.argsort(-shares, kind="stable")[:count]
    lines = []
    for label, share in zip(best, shares[best], strict=True):
        said = ("yes  " if share > 0.5 else "no   ") if classifier.multi_label else ""
        lines.append(f"{100 * share:6.2f} %  {said}{classifier.name(label)}")
    return lines


def read_masks(classifier, output):
    """Returns the class of each pixel, and the share of pixels of each class.

    Of labels that don't exclude each other a pixel is of the likeliest, -1 without any.
    """
    if classifier.output == "argmax":
        mask = output
    else:
        shares = probabilities(output, classifier.output, classifier.multi_label)
        mask = shares.argmax(-1)
        if classifier.multi_label:
            present = shares > 0.5
            return np.where(present.any(-1), mask, -1), present.mean((0, 1))
    return mask, np.bincount(mask.ravel()) / mask.size


def coloured(mask, size, colors):
    """Returns a mask as a `PIL.Image` of a size, a colour for each class."""
    palette = [list(bytes.fromhex(color[1:])) for color in colors]
    white = [255] * 3  # What belongs to no class, -1, takes the last one.
    picture = Image.fromarray(np.array([*palette, white], "uint8")[mask])
    return picture.resize(size, Image.Resampling.NEAREST)


def covered(classifier, shares):
    """Returns a line for each class in a mask, the largest part first."""
    return [
        f"{100 * shares[label]:6.2f} %  {classifier.name(label)}"
        for label in np.argsort(-shares, kind="stable")
        if shares[label]
    ]


def load(path):
    """Reads an image file; a JPEG is turned as the camera was held."""
    with Image.open(path) as opened:
        opened.load()
        # Of other kinds the files that take encoded images know no orientation.
        is_jpeg = opened.format in ("JPEG", "MPO")
        return ImageOps.exif_transpose(opened) if is_jpeg else opened


def mask_files(images, folder):
    """Returns where to write the mask of each image, in folders as the images lie."""
    parents = [path.resolve().parent for path in images]
    if folder.resolve() in parents:
        raise ValueError(
            "Expected another folder than the images', whose next training would take "
            f"the masks for images. Received: --output={folder}"
        )
    common = os.path.commonpath(parents)
    return [
        folder / parent.relative_to(common) / f"{path.name}-mask.png"
        for path, parent in zip(images, parents, strict=True)
    ]


def describe(classifier, image, target, count):
    """Returns what to print of an image; writes its mask, if there is one."""
    output = classifier(image)
    if not classifier.returns_masks:
        return likeliest(classifier, output, count)
    mask, shares = read_masks(classifier, output)
    target.parent.mkdir(parents=True, exist_ok=True)
    coloured(mask, image.size, classifier.colors).save(target)
    return [*covered(classifier, shares), f"in colours: {target}"]


def read_flags(arguments):
    """Returns the flags, the `Classifier` and where the masks of the images go."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=pathlib.Path, help="the .tflite file")
    parser.add_argument("images", type=pathlib.Path, nargs="+", help="image files")
    parser.add_argument("--top", type=int, default=5, help="number of classes")
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        help="folder of a segmenter's masks; by default masks/ beside the .tflite file",
    )
    flags = parser.parse_args(arguments)
    if not flags.model.is_file():
        parser.error(f"expected a .tflite file, but {flags.model} is no file")
    try:
        targets = mask_files(flags.images, flags.output or flags.model.parent / "masks")
    except ValueError as error:
        parser.error(str(error))
    try:
        return flags, Classifier(flags.model), targets
    except ValueError as error:
        parser.error(f"cannot use {flags.model}: {error}")


def main(arguments=None):
    """Runs the command; returns its exit code."""
    flags, classifier, targets = read_flags(arguments)
    failed = 0
    for path, target in zip(flags.images, targets, strict=True):
        try:
            image = load(path)
        except (OSError, Image.DecompressionBombError) as error:
            failed += 1
            print(f"{path}: not an image that can be read ({error})", file=sys.stderr)
        else:
            lines = describe(classifier, image, target, flags.top)
            print("\n  ".join([f"{path}:", *lines]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
