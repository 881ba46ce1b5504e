"""Curves and pictures of a run for TensorBoard, where `--tensorboard` asks for them.

`tensorboard --logdir=runs` shows those of all runs side by side.
"""

import importlib.util

import keras
import tensorflow as tf

from examples.runs.recipe import TENSORBOARD


def check_installed():
    """Refuses to start without the package that TensorFlow writes summaries with.

    Raises:
        ImportError: If it is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            "--tensorboard needs the package tensorboard: pip install tensorboard"
        )


def curves(run, method):
    """Returns the callbacks that write each epoch's terms and metrics, a list.

    Args:
        run: `examples.runs.run.Run`.
        method: Name of the method, whose curves get a folder of their own.
    """
    if not (TENSORBOARD.value and run.is_chief):
        return []
    folder = run.path / "tensorboard" / method
    return [keras.callbacks.TensorBoard(folder, write_graph=False)]


def pictures(folder):
    """Writes the pictures in a folder under their names, to be seen beside the curves.

    Args:
        folder: `pathlib.Path` of a run or a study.
    """
    if not TENSORBOARD.value:
        return
    writer = tf.summary.create_file_writer(str(folder / "tensorboard" / "pictures"))
    with writer.as_default(step=0):
        for path in sorted(folder.glob("*.png")):
            image = tf.io.decode_png(path.read_bytes(), channels=3)
            tf.summary.image(path.stem, image[None])
    writer.close()
