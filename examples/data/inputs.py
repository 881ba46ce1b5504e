"""The flags that say what a runner trains: data and student."""

from absl import flags

from examples.data.image_files import POLICIES
from examples.runs.unused_flags import used_only

_OFFLINE = (None, "digits", "digit_scenes")

DATASET = flags.DEFINE_string(
    "dataset",
    None,
    "A data set of the runner's kind: its offline one by default (digits or "
    "digit_scenes), folder, or the name of a TFDS data set.",
)
DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Directory of the folders, or of prepared TFDS data sets."
)
DOWNLOAD = flags.DEFINE_bool(
    "download", True, "Let TFDS download what --data_dir does not hold."
)
BAD_IMAGES = flags.DEFINE_enum(
    "bad_images",
    "refuse",
    POLICIES,
    "folder: files that are no images end the program or are left out; trust opens no "
    "file before the training does.",
)
TEST_SHARE = flags.DEFINE_float(
    "test_share",
    None,
    "Share of the images (of each class) to test on, where there are training images "
    "only; always the same images. By default 0.1.",
    lower_bound=0.0,
    upper_bound=0.9,
)
VALIDATION_SHARE = flags.DEFINE_float(
    "validation_share",
    None,
    "Likewise the share to validate on. By default 0.1.",
    lower_bound=0.0,
    upper_bound=0.9,
)
IMAGE_SIZE = flags.DEFINE_list(
    "image_size",
    None,
    "Height,width or one number, in pixels; by default the images' own size.",
)
STUDENT = flags.DEFINE_string(
    "student",
    None,
    "A network of examples/ (small_resnet, thin_unet, ...), a model of "
    "keras.applications, or one of keras-hub or keras-cv.",
)
WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "A trained network of the same layers, the folder of its run, its .keras or its "
    ".weights.h5 file: the student starts from its weights, but for a head of other "
    "classes.",
)
FREEZE_UNTIL = flags.DEFINE_string(
    "freeze_until",
    None,
    "A layer, such as a tap: it and all before it keep their weights, BatchNorm in "
    "inference mode.",
)
TAPS = flags.DEFINE_list(
    "taps", None, "Layers to distil at, fine to coarse; by default found on their own."
)
EXPORT = flags.DEFINE_bool(
    "export", True, "Write and check a SavedModel and LiteRT files."
)

used_only(BAD_IMAGES, lambda: DATASET.value == "folder", "with --dataset=folder")
for _flag in (DATA_DIR, TEST_SHARE, VALIDATION_SHARE):
    used_only(
        _flag,
        lambda: DATASET.value not in _OFFLINE,
        "with --dataset=folder or the name of a TFDS data set",
    )
used_only(
    FREEZE_UNTIL,
    lambda: (
        WEIGHTS.value or ("backbone" in flags.FLAGS and flags.FLAGS["backbone"].value)
    ),
    "with the --weights, or the segmenter's --backbone, of a trained network",
)


def of_tfds():
    """Whether `--dataset` is one of TFDS."""
    return DATASET.value not in (*_OFFLINE, "folder")


def image_size():
    """Returns `--image_size` as `(height, width)`, or `None`.

    Raises:
        ValueError: If it is not one or two positive numbers.
    """
    given = IMAGE_SIZE.value
    if given is None:
        return None
    if len(given) not in (1, 2) or not all(n.isdecimal() and int(n) for n in given):
        raise ValueError(
            "Expected --image_size=height,width or one number, in pixels. Received: "
            f"--image_size={','.join(given)}"
        )
    return int(given[0]), int(given[-1])
