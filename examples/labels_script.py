"""Several labels at once: each logit is a yes or no of its own.

Of each digit three things are asked: is it even, has it a loop, is it above 4? The
compiled `BinaryCrossentropy(from_logits=True)` says that the labels do not exclude each
other; soft labels are then those of each label. One logit, a single yes or no, works
alike. Look at the accuracy of each label, and of all three together; with 300 images
and one seed a point is luck.

`python -m examples.labels_script` in a clone took 23 s of CPU time on 2 cores
(2026-11-27).
"""

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from examples.students.convnets import small_resnet
from keras_selfkd import FRSKD, SelfDistillationModel, Supervised

images, digits = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
names = ("even", "loop", "above 4")
labels = np.stack([digits % 2 == 0, np.isin(digits, (0, 6, 8, 9)), digits > 4], axis=1)
x_train, x_test, y_train, y_test = train_test_split(
    images, labels.astype("float32"), train_size=300, stratify=digits, random_state=0
)


def train(method):
    keras.utils.set_random_seed(0)
    student = small_resnet(images.shape[1:], classes=len(names))
    model = SelfDistillationModel(student, method)
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],  # of logits
    )
    model.fit(x_train, y_train, batch_size=32, epochs=20, verbose=0)
    return model.student


def report(name, student):
    right = (student.predict(x_test, verbose=0) > 0) == (y_test > 0)
    each = zip(names, right.mean(axis=0), strict=True)
    print(
        f"{name}: {', '.join(f'{label} {share:.1%}' for label, share in each)}", end=""
    )
    print(f", all three {right.all(axis=1).mean():.1%}")


report("plain training", train(Supervised()))
student = train(FRSKD(width=1))
report("FRSKD", student)
student.save("labels.keras")  # an ordinary Keras model
