"""A model's layers at any nesting, and its BatchNorms on replicas."""

import keras


def batch_norms(model):
    """Lists the BatchNorm layers of a model, at any nesting."""
    kind = keras.layers.BatchNormalization
    return [layer for layer in layers_in(model) if isinstance(layer, kind)]


def layers_in(layer):
    """Lists the layers inside of a layer or model, at any nesting."""
    return layer._flatten_layers(include_self=False)


def derive_constants(model):
    """Has layers that compute with what they derive of their weights do so anew.

    Keras does it when it loads a file; `set_weights` and `assign` leave a
    Normalization layer with the mean and variance that it had before.
    """
    for layer in layers_in(model):
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def synchronize_batch_norm(model):
    """Has a model's BatchNorm layers take their statistics over all replicas.

    By default each replica normalises by its own part of the batch, and a saved
    model holds the moving averages of the first replica. The layers are changed in
    place; weights stay.

    Args:
        model: Keras model, any nesting, before it is trained.

    Returns:
        The model.

    Example:

    >>> import keras
    >>> student = keras.applications.MobileNetV2(weights=None)
    >>> student = synchronize_batch_norm(student)
    >>> student.get_layer("bn_Conv1").synchronized
    True
    """
    for layer in batch_norms(model):
        layer.synchronized = True
    return model
