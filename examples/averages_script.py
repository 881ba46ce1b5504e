"""An averaged teacher: the moving average of the student's weights teaches it.

MeanTeacher keeps averages of the weights and asks for their soft labels. Look at both
networks that come out: the student, and `model.averaged_student`, often the better one
while the learning rate is high, as it is here to the end. In 180 steps neither reaches
plain training; the method is for long ones.

`python -m examples.averages_script` in a clone took 26 s of CPU time on 2 cores
(2026-11-27).
"""

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from examples.students.convnets import small_resnet
from keras_selfkd import MeanTeacher, SelfDistillationModel, Supervised

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
x_train, x_test, y_train, y_test = train_test_split(
    images, labels, train_size=300, stratify=labels, random_state=0
)


def train(method):
    keras.utils.set_random_seed(0)
    model = SelfDistillationModel(small_resnet(images.shape[1:], classes=10), method)
    model.compile(
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x_train, y_train, batch_size=32, epochs=20, verbose=0)
    return model


def report(name, student):
    right = student.predict(x_test, verbose=0).argmax(-1) == y_test
    print(f"{name}: {right.mean():.1%} of {len(y_test):,} test images")


report("plain training", train(Supervised()).student)
model = train(MeanTeacher(decay=0.9))  # 0.999, the default, is for longer trainings
report("student", model.student)
report("averaged student", model.averaged_student)
model.averaged_student.save("averaged.keras")  # an ordinary Keras model, of same size
