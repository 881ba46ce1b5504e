r"""Trains a semantic segmenter plainly and by self-distillation, and ships it.

  python -m examples.train_segmenter

draws 64 scenes of scikit-learn's handwritten digits on textured ground, 64x64 pixels,
trains a thin U-Net to tell ground and digits apart, first plainly and then with FRSKD,
by one recipe and from the same first weights, and compares the two on 240 scenes of
other digit images. It takes about three minutes on 2 CPU cores. Seeds 0, 1 and 2 gave a
mean IoU of 43.1, 50.3 and 47.3 % plainly, 53.0, 54.1 and 49.9 % with FRSKD; with more
scenes than training can fit in its epochs it is the other way round
(benchmarks/accuracy/camvid.md has more on that).

Weights are those of the last epoch: nothing is chosen on test images. Masks have void
pixels, the soft borders of the strokes, which count nowhere. Defaults that differ from
those that --help shows: 200 epochs, batches of 8, learning rate 0.05, a self-teacher of
32 channels on each level.

Everything goes to runs/<name>/: student.keras, saved_model/ and student.tflite hold the
student alone, without its self-teacher; baseline.keras and baseline.tflite the plainly
trained one; history.csv, flags.cfg, result.json and pictures say how it went.

More data and students:

  CamVid in its public layout (train, trainannot, val, valannot, test, testannot):
    python -m examples.train_segmenter --dataset=folder --data_dir=CamVid --void=11
      --image_size=180,240 --student=mobilenet_v3_fpn --channels=48
  masks of black and white in masks/, images in images/, one logit a pixel:
    python -m examples.train_segmenter --dataset=folder --data_dir=cells
      --mask_values=0,255 --label_names=ground,cell --binary --image_size=128
  Oxford-IIIT Pet (TFDS downloads it), labels 1 to 3:
    python -m examples.train_segmenter --dataset=oxford_iiit_pet --label_offset=-1
      --label_names=pet,background,border --image_size=128,128
  the recipe of the FRSKD paper (there on VOC, images of 512 pixels, batch 32, here 4
  batches of 8; the distillation off for two thirds of the training):
    python -m examples.train_segmenter --dataset=folder --data_dir=VOC --void=255
      --image_size=512,512 --student=efficientnet_bifpn --channels=64 --depth=1
      --repeats=2
      --taps=bifpn3_top_down0,bifpn3_top_down1,bifpn3_top_down2,bifpn3_top_down3,\
bifpn3_top_down4,bifpn2_out5
      --soft_label_weight=1 --feature_weight=50 --temperature=1 --ramp_start=0.667
      --batch_size=8 --gradient_accumulation_steps=4 --epochs=60 --schedule=step
      --drops=0.667 --learning_rate=0.01 --weight_decay=5e-4 --clipvalue=2
  a classifier's layers, trained by the other runner on images of as many channels:
    python -m examples.train_segmenter --backbone=runs/cifar100-thin_resnet18-frskd-0
      --dataset=folder --data_dir=CamVid --void=11 --image_size=90,120
  the maps of a trained network for the same images as targets, as in NFD's paper:
    python -m examples.train_segmenter --method=taught --teacher=runs/x/baseline.keras
      --taps=up1_2_out --teacher_taps=up1_2_out --soft_label_weight=0
"""

import functools

import numpy as np
from absl import flags

from examples.data import inputs
from examples.data.segmentation_data import load_masked_data, with_binary_masks
from examples.results import mask_results
from examples.results.mask_pictures import draw
from examples.runs import methods, recipe, training
from examples.runs.mask_objective import objective
from examples.runs.task import Task, carry_out
from examples.runs.unused_flags import used_only
from examples.students.by_name import build_segmenter
from examples.students.pretrained import load_network
from examples.students.segmenters import fpn_on
from keras_selfkd.export.litert import predict_tflite

flags.adopt_module_key_flags(inputs)
flags.adopt_module_key_flags(recipe)
flags.adopt_module_key_flags(methods)

_IMAGE_KEY = flags.DEFINE_string("image_key", "image", "TFDS feature of the images.")
_MASK_KEY = flags.DEFINE_string(
    "mask_key", "segmentation_mask", "TFDS feature of the masks."
)
_LABEL_OFFSET = flags.DEFINE_integer(
    "label_offset", 0, "Added to each label; -1 where they begin with 1."
)
_LABEL_NAMES = flags.DEFINE_list(
    "label_names", None, "Names of the classes; by default the data set's, or numbers."
)
_VOID = flags.DEFINE_string(
    "void",
    None,
    "Label of the pixels to ignore, or none; by default the data set's, or 255, or, "
    "with --mask_values, none.",
)
_MASK_VALUES = flags.DEFINE_list(
    "mask_values",
    None,
    "What masks hold for each class, in the order of the classes: 0,255 for masks of "
    "black and white; by default the numbers of the classes.",
)
_BINARY = flags.DEFINE_bool(
    "binary",
    False,
    "Two classes as one logit, that of the second, with binary cross-entropy.",
)
_BACKBONE = flags.DEFINE_string(
    "backbone",
    None,
    "A trained classifier, the folder of its run or its .keras file: the student is a "
    "feature pyramid on its layers, and starts from their weights.",
)
_TRAIN_IMAGES = flags.DEFINE_integer(
    "train_images", None, "Train on the first images only.", lower_bound=1
)

used_only(_BACKBONE, lambda: inputs.STUDENT.value is None, "without --student")
for _flag in (_IMAGE_KEY, _MASK_KEY):
    used_only(_flag, inputs.of_tfds, "with the name of a TFDS data set as --dataset")


def load():
    """Reads the data that the flags name."""
    data = load_masked_data(
        inputs.DATASET.value or "digit_scenes",
        data_dir=inputs.DATA_DIR.value,
        image_key=_IMAGE_KEY.value,
        mask_key=_MASK_KEY.value,
        label_offset=_LABEL_OFFSET.value,
        label_names=_LABEL_NAMES.value,
        void=_void(),
        mask_values=_MASK_VALUES.value and _integers(_MASK_VALUES, _MASK_VALUES.value),
        image_size=inputs.image_size(),
        train_images=_TRAIN_IMAGES.value,
        batch_size=recipe.BATCH_SIZE.value,
        seed=recipe.SEED.value,
        fast=recipe.FAST.value,
        download=inputs.DOWNLOAD.value,
        bad_images=inputs.BAD_IMAGES.value,
        shares={
            "test": inputs.TEST_SHARE.value,
            "validation": inputs.VALIDATION_SHARE.value,
        },
    )
    return with_binary_masks(data) if _BINARY.value else data


def _void():
    if _VOID.value in (None, "none"):
        return _VOID.value
    (void,) = _integers(_VOID, [_VOID.value], " or none")
    return void


def _integers(flag, values, other=""):
    if not all(value.strip().isdecimal() for value in values):
        raise ValueError(
            f"Expected --{flag.name} to be whole numbers from 0 on{other}. Received: "
            f"--{flag.name}={','.join(values)}"
        )
    return [int(value) for value in values]


def rate(student, data, masks):
    """Returns the `Rating` of a student on the test set."""
    return mask_results.rate(student, data.test, masks, data.classes, data.void)


def rate_litert(path, data, masks, predicted):
    """Runs a LiteRT file on the whole test set, beside Keras's masks."""
    outputs = mask_results.masks_of(predict_tflite(path, data.test), masks.shape[1:3])
    score = mask_results.score_masks(outputs, masks, data.classes, data.void)
    agreeing = float(np.mean(outputs == predicted))
    return {"mean_iou": score["mean_iou"], "agreeing": agreeing, "images": len(masks)}


def build(name, image_shape, outputs):
    """Builds a segmenter by name, or on the backbone that the flags name."""
    if _BACKBONE.value is None:
        return build_segmenter(name, image_shape, outputs)
    return fpn_on(_backbone(_BACKBONE.value), image_shape, outputs)


@functools.cache
def _backbone(path):
    backbone = load_network(path, "--backbone")
    print(f"Backbone: {backbone.name} of {path}, without its head")
    return backbone


TASK = Task(
    name="train_segmenter",
    own_flag=_MASK_KEY.name,
    default_student=lambda: "thin_unet" if _BACKBONE.value is None else "backbone_fpn",
    build_student=build,
    outputs=lambda data: 1 if _BINARY.value else data.classes,
    dense=True,
    defaults={"epochs": 200, "batch_size": 8, "learning_rate": 0.05, "channels": "32"},
    metric="mean_iou",
    per_class="iou",
    load=load,
    objective=lambda data: objective(data, _BINARY.value),
    rate=rate,
    rate_litert=rate_litert,
    draw=draw,
    facts=lambda run, data, scores, masks: {
        "void": data.void,
        "binary": _BINARY.value,
    },
    report=mask_results.report,
)


def main(argv):
    carry_out(TASK, argv)


if __name__ == "__main__":
    training.start(main)
