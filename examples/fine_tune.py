"""Fine-tunes a pretrained backbone, first frozen, then with late self-distillation.

  python -m examples.fine_tune imagenet

starts from ImageNet's weights of a small MobileNet, which Keras downloads once; the
path of a `.weights.h5` file of that backbone does, too. Without either the script runs
offline: it first trains the backbone on scikit-learn's digits 0 to 4, all in about a
minute and a half on 2 CPU cores. It is fine-tuned on 200 images of the digits 5 to 9:
put your own in their place, their size into SIZE (ImageNet's weights like 128 to 224).
"""

import sys

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_selfkd import FRSKD, Late, Ramp, SelfDistillationModel, Supervised
from keras_selfkd.batch_norm import recalibrate_batch_norm

SIZE, CLASSES, FROZEN_EPOCHS, EPOCHS, LATE = 32, 5, 10, 20, 0.3
weights = sys.argv[1] if sys.argv[1:] else None

digits, labels = load_digits(return_X_y=True)
images = np.repeat(digits.reshape(-1, 8, 8, 1) / 8 - 1, 3, axis=-1)  # In [-1, 1].
images = keras.ops.convert_to_numpy(keras.ops.image.resize(images, (SIZE, SIZE)))
old, new = labels < 5, labels >= 5
train_x, rest_x, train_y, rest_y = train_test_split(
    images[new], labels[new] - 5, train_size=200, stratify=labels[new], random_state=0
)
train, validation = (train_x, train_y), (rest_x[:200], rest_y[:200])
test = rest_x[200:], rest_y[200:]

keras.utils.set_random_seed(0)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
backbone = keras.applications.MobileNet(
    input_shape=(SIZE, SIZE, 3), alpha=0.25, include_top=False, weights=weights
)
features = keras.layers.GlobalAveragePooling2D()(backbone.output)
if weights is None:
    pretrained = keras.Model(backbone.input, keras.layers.Dense(5)(features))
    pretrained.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    pretrained.fit(images[old], labels[old], epochs=15, verbose=2)
    # Its averages of so few steps lag behind; those of ImageNet do not.
    recalibrate_batch_norm(pretrained, np.array_split(images[old], 20))

# 1. The head alone. What is frozen cannot be taught, so this is plain training. A
# BatchNorm that is not trainable runs in inference mode and keeps its averages.
backbone.trainable = False
student = keras.Model(backbone.input, keras.layers.Dense(CLASSES)(features))  # Logits.
model = SelfDistillationModel(student, Supervised())
model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
model.fit(*train, validation_data=validation, epochs=FROZEN_EPOCHS, verbose=2)

# 2. All but BatchNorm, at a lower rate, which asks for a new `compile`. FRSKD comes
# late and grows, as its self-teacher has to learn first.
for layer in backbone.layers:
    layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
growing = {"soft_label_weight": Ramp(2.0), "feature_weight": Ramp(100.0)}
model = SelfDistillationModel(student, Late(FRSKD(channels=32, **growing), start=LATE))
model.compile(keras.optimizers.Adam(5e-4), loss, metrics=["accuracy"])
callbacks = [
    keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.3, patience=4),
    keras.callbacks.ModelCheckpoint("fine_tuned.keras", save_best_only=True),
    keras.callbacks.EarlyStopping(  # Not before FRSKD has begun.
        patience=8, restore_best_weights=True, start_from_epoch=int(LATE * EPOCHS) + 1
    ),
]
model.fit(
    *train, validation_data=validation, epochs=EPOCHS, callbacks=callbacks, verbose=2
)
model.evaluate(*test, verbose=2)
model.student.save("student.keras")  # The backbone and its head.
