"""The papers' own numbers (tests/golden/README.md) and the rule of their weights."""

import pathlib

import numpy as np

GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "reference.npz")


def assert_parity(actual, expected, tolerance=1e-4):
    """`max|a - b| <= tolerance * max|b|`, without an absolute tolerance."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    error = np.max(np.abs(actual - expected))
    assert error <= tolerance * np.max(np.abs(expected)), error


def rule_kernel(shape):
    i = np.arange(np.prod(shape))
    return (0.2 * np.sin(0.7 * i + 0.3) + 0.05 * np.cos(0.11 * i)).reshape(shape)


def set_rule_weights(network):
    """Gives every kernel of a fresh network the weights that the arrays assume."""
    for variable in network.trainable_variables:
        if variable.name == "kernel":
            variable.assign(rule_kernel(variable.shape))
