"""Self-distillation in a plain script: a self-teacher on the student's own maps.

FRSKD's self-teacher is grown by the model, trained by `fit`, and thrown away. Look at
the log: each term of the loss has its line, and at the accuracy on the test images.
Beside it are a script for branches, a memory, averages, a trained teacher, masks and
several labels: `examples/*_script.py`.

`python -m examples.fit_script` in a clone took 20 s of CPU time on 2 cores
(2026-11-27).
"""

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from examples.students.convnets import small_resnet
from keras_selfkd import FRSKD, SelfDistillationModel

images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16
x_train, x_test, y_train, y_test = train_test_split(
    images, labels, train_size=300, stratify=labels, random_state=0
)

keras.utils.set_random_seed(0)
student = small_resnet(images.shape[1:], classes=10)  # or any functional model
model = SelfDistillationModel(student, FRSKD(width=1))
model.compile(
    optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(x_train, y_train, batch_size=32, epochs=20)
model.evaluate(x_test, y_test)
model.student.save("student.keras")  # an ordinary Keras model, as small as before
