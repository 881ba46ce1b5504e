"""A trained teacher: a larger network's logits and maps teach a small one.

The teacher is trained first, plainly, and is left as it is afterwards. Look at
both students, and at their size beside the teacher's; with 300 images and one seed a
point is luck.

`python -m examples.taught_script` in a clone took 20 s of CPU time on 2 cores
(2026-11-27).
"""

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from examples.students.convnets import plain_cnn, small_resnet
from keras_selfkd import SelfDistillationModel, Supervised, Taught

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
x_train, x_test, y_train, y_test = train_test_split(
    images, labels, train_size=300, stratify=labels, random_state=0
)


def small_student():
    keras.utils.set_random_seed(0)
    return plain_cnn(images.shape[1:], classes=10, channels=(8, 16, 32))


def train(name, student, method):
    model = SelfDistillationModel(student, method)
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x_train, y_train, batch_size=32, epochs=20, verbose=0)
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"{name}: {accuracy:.1%}, {student.count_params():,} weights")
    return student


keras.utils.set_random_seed(0)
teacher = small_resnet(images.shape[1:], classes=10)
train("teacher", teacher, Supervised())
train("student, plain training", small_student(), Supervised())
student = train("student, taught", small_student(), Taught(teacher))
student.save("taught.keras")  # the small network alone, an ordinary Keras model
