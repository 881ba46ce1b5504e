"""One worker of several: all of `fit`, `evaluate`, `predict` and saving.

    TF_CONFIG=... python -m tests.processes.worker_fit FOLDER [forever]

prints one line of JSON. With `forever` it trains until something stops it.
"""

import hashlib
import json
import pathlib
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

from keras_selfkd import FRSKD, SelfDistillationModel
from keras_selfkd.distributed.layers import synchronize_batch_norm
from keras_selfkd.distributed.strategies import strategy_by_name
from tests import toys
from tests.processes.workers import run_graphs_as_written


class SayEpoch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print(f"epoch {epoch}", flush=True)


def main(folder, forever=""):
    run_graphs_as_written()
    strategy = strategy_by_name("multi_worker")
    keras.utils.set_random_seed(0)
    # Every worker saves, because that takes all of them; the chief's files are kept.
    chief = strategy.extended.should_checkpoint
    output = pathlib.Path(folder if chief else tempfile.mkdtemp())
    with strategy.scope():
        student = synchronize_batch_norm(toys.classifier(dropout=0.2))
        model = SelfDistillationModel(student, FRSKD(width=1, depth=1))
        model.compile(
            keras.optimizers.SGD(0.01, momentum=0.9),
            toys.cross_entropy(),
            metrics=["accuracy"],
        )
    data = tf.data.Dataset.from_tensor_slices(toys.class_data(21)).batch(8)
    history = model.fit(
        data,
        shuffle=False,
        epochs=10**6 if forever else 3,
        validation_data=data,
        verbose=0,
        callbacks=[
            SayEpoch(),
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.EarlyStopping(patience=10**6, restore_best_weights=True),
            keras.callbacks.CSVLogger(output / "history.csv"),
            keras.callbacks.ModelCheckpoint(
                str(output / "best.keras"), save_best_only=True
            ),
            keras.callbacks.ModelCheckpoint(
                str(output / "last.weights.h5"), save_weights_only=True
            ),
        ],
    ).history
    evaluated = model.evaluate(data, return_dict=True, verbose=0)
    predicted = model.predict(toys.class_data(21)[0], batch_size=8, verbose=0)
    model.save(output / "model.keras")
    digest = hashlib.sha256(b"".join(v.numpy().tobytes() for v in model.weights))
    print(
        json.dumps(
            {
                "history": history,
                "evaluated": evaluated,
                "predicted": np.array(predicted).tolist(),
                "weights": digest.hexdigest(),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
