"""Early exits: branches that answer sooner, trained by the student's own end.

BYOT grows a branch on each tap but the last. The student's end teaches them, they
train the student's shallow layers, and each is a model of its own afterwards: look at
what accuracy an exit has for how many weights, and at the student beside plain
training; with 300 images and one seed a point is luck.

`python -m examples.branches_script` in a clone took 30 s of CPU time on 2 cores
(2026-11-27).
"""

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from examples.students.convnets import small_resnet
from keras_selfkd import BYOT, SelfDistillationModel, Supervised

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
x_train, x_test, y_train, y_test = train_test_split(
    images, labels, train_size=300, stratify=labels, random_state=0
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def train(method):
    keras.utils.set_random_seed(0)
    model = SelfDistillationModel(small_resnet(images.shape[1:], classes=10), method)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(optimizer, loss=loss, metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=32, epochs=20, verbose=0)
    return model


def report(name, model):
    right = model.predict(x_test, verbose=0).argmax(-1) == y_test
    print(f"{name}: {right.mean():.1%}, {model.count_params():,} weights")


report("plain training", train(Supervised()).student)
*early, student = train(BYOT()).exits()
for number, model in enumerate(early):
    report(f"exit {number}", model)
report("student, taught with its exits", student)
early[0].save("first_exit.keras")  # an ordinary Keras model, the shallow layers alone
