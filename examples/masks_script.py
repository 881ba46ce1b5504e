"""Masks: a small U-Net learns to segment, plainly and from itself.

The scenes are drawn from scikit-learn's digits, with a void border around each stroke:
its id is the loss's `ignore_class`, and counts in no term and no metric. Look at the
mean IoU; pixel accuracy is mostly the ground's. At the end a picture of what hangs
where on the U-Net is in structure.png.

`python -m examples.masks_script` in a clone took 74 s of CPU time on 2 cores
(2026-11-27).
"""

import keras

from examples.data.digit_scenes import NAMES, VOID, digit_scenes
from examples.students.segmenters import thin_unet
from keras_selfkd import FRSKD, PixelAccuracy, SelfDistillationModel, Supervised

classes = len(NAMES)
x_train, y_train = digit_scenes("train")
x_test, y_test = digit_scenes("test")
x_train, x_test = x_train / 255.0, x_test / 255.0


def train(method):
    keras.utils.set_random_seed(0)
    model = SelfDistillationModel(thin_unet(x_train.shape[1:], classes), method)
    model.compile(
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=VOID
        ),
        metrics=[
            keras.metrics.MeanIoU(classes, ignore_class=VOID, sparse_y_pred=False),
            PixelAccuracy(ignore_class=VOID),
        ],
    )
    model.fit(x_train, y_train, batch_size=8, epochs=40, verbose=0)
    _, iou, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"{method.name}: mean IoU {iou:.1%}, pixel accuracy {accuracy:.1%}")
    return model


train(Supervised(name="plain training"))
model = train(FRSKD.for_pixels(channels=32))  # the paper's settings for masks
model.student.save("segmenter.keras")  # an ordinary Keras model
model.plot("structure.png")
