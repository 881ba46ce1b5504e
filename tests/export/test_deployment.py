import json
import zipfile

import keras
import numpy as np
import pytest

from keras_selfkd import SelfDistillationModel, Supervised
from keras_selfkd.export.deployment import (
    deployed_model,
    input_signature,
    load_file,
    sample_images,
)

SHAPE = (8, 12, 1)


@pytest.fixture
def policy():
    """Sets the global dtype policy for a test."""
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


@keras.saving.register_keras_serializable(package="test_deployment")
class Registered(keras.layers.Layer):
    def call(self, inputs):
        return inputs + 1.0


class Unregistered(Registered):
    pass


def student():
    """A nested student with BatchNormalization, an operation and a custom layer."""
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    backbone = keras.Model(inputs, keras.ops.relu(2 * x), name="backbone")
    inputs = keras.Input(SHAPE, name="images")
    x = Registered()(Unregistered()(backbone(inputs)))
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(3, dtype="float32")(x)
    return keras.Model(inputs, outputs, name="student")


def images(count=4):
    return np.random.default_rng(0).random((count, *SHAPE), "float32")


def all_dtypes(model):
    nested = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    dtypes = {layer.compute_dtype for layer in model.layers}
    return dtypes.union(*map(all_dtypes, nested))


def test_shares_the_weights_of_a_float32_student():
    model = student()
    deployed = deployed_model(model)
    assert all(a is b for a, b in zip(deployed.weights, model.weights, strict=True))
    assert deployed.name == "student"
    assert deployed.inputs[0].name == "images"
    assert deployed.output_shape == (None, 3)


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_rebuilds_a_low_precision_student_in_float32(policy, name):
    policy(name)
    trained = student()
    policy("float32")
    rng = np.random.default_rng(1)
    values = [rng.random(w.shape, "float32") for w in trained.weights]
    trained.set_weights(values)
    deployed = deployed_model(trained)
    assert all_dtypes(deployed) == {"float32"}
    assert {weight.dtype for weight in deployed.weights} == {"float32"}
    full = student()
    full.set_weights([np.asarray(w, "float32") for w in trained.get_weights()])
    np.testing.assert_array_equal(deployed(images()), full(images()))
    assert {layer.compute_dtype for layer in trained.layers[1].layers[1:]} != {
        "float32"
    }


def test_a_rebuilt_layer_is_not_mistaken_for_keras_layer_of_its_name(policy):
    class ReLU(keras.layers.Layer):
        def call(self, inputs):
            return -inputs

    policy("mixed_float16")
    model = keras.Sequential([keras.Input(SHAPE), ReLU(), keras.layers.ReLU()])
    policy("float32")
    deployed = deployed_model(model)
    np.testing.assert_array_equal(
        deployed(images() - 0.5), -np.minimum(images() - 0.5, 0)
    )


def test_preprocess_adapted_under_mixed_precision_keeps_its_statistics(policy):
    policy("mixed_float16")
    normalise = keras.layers.Normalization()
    normalise.adapt(3 + 2 * images(64))
    model = student()
    policy("float32")
    deployed = deployed_model(model, normalise)
    plain = deployed_model(model)
    standardised = (3 + 2 * images() - 4) / np.sqrt(4 / 12)
    np.testing.assert_allclose(
        deployed(3 + 2 * images()), plain(standardised), atol=0.03
    )


def test_a_preprocess_model_says_itself_what_it_takes():
    inputs = keras.Input((16, 24, 1), dtype="uint8", name="pixels")
    resized = keras.layers.AveragePooling2D(2)(keras.layers.Rescaling(1 / 255)(inputs))
    model = student()
    deployed = deployed_model(model, keras.Model(inputs, resized))
    assert deployed.input_shape == (None, 16, 24, 1)
    assert deployed.inputs[0].dtype == "uint8"
    pixels = np.full((2, 16, 24, 1), 51, "uint8")
    expected = model(np.full((2, *SHAPE), 0.2, "float32"))
    np.testing.assert_allclose(deployed(pixels), expected, rtol=1e-5)


def test_an_unbuilt_sequential_is_a_preprocess():
    preprocess = keras.Sequential([keras.layers.Rescaling(2.0)])
    model = student()
    expected = model(2 * images())
    np.testing.assert_array_equal(deployed_model(model, preprocess)(images()), expected)


def test_finds_the_student_in_a_model_and_in_a_file(tmp_path):
    plain = keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(2, 3)])
    plain.save(tmp_path / "student.keras")
    loaded = deployed_model(str(tmp_path / "student.keras"))
    np.testing.assert_array_equal(loaded(images()), plain(images()))
    model = SelfDistillationModel(plain, Supervised())
    assert deployed_model(model).weights == plain.weights


def two_inputs():
    inputs = [keras.Input(SHAPE), keras.Input(SHAPE)]
    return keras.Model(inputs, keras.layers.Add()(inputs), name="two")


def two_outputs():
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, [inputs + 1.0, inputs + 2.0], name="two")


def open_size():
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(inputs), name="open")


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (two_inputs, "one input of known size.*Received: two with input shapes"),
        (two_outputs, "one output. Received: two with 2 outputs"),
        (open_size, r"keras.Input\(\(height, width.*Received: open .*None, None, 3"),
        (Subclassed, "one input of known size"),
        (lambda: 3, "Expected a SelfDistillationModel.*Received: 3"),
    ],
)
def test_refuses(build, message):
    with pytest.raises(ValueError, match=message):
        deployed_model(build())


def saved(path, *layers):
    keras.Sequential([keras.Input(SHAPE), *layers]).save(path)
    return path


def reconfigured(path, change):
    """Rewrites a file's config with `change`, from and to a string."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts["config.json"] = change(parts["config.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)


@pytest.mark.parametrize("size", [0, 100, 3000, -1])
def test_error_file_cut_off(tmp_path, size):
    file = saved(tmp_path / "student.keras", keras.layers.Dense(2))
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"whole `.keras` file.*student.keras"):
        deployed_model(file)


def test_a_spoilt_byte_is_harmless_or_refused(tmp_path):
    file = saved(tmp_path / "student.keras", keras.layers.Dense(2))
    content, expected = file.read_bytes(), keras.models.load_model(file).get_weights()
    refusals, harmless = [], 0
    directory = content.index(b"PK\x01\x02")
    drawn = np.random.default_rng(0).integers(len(content), size=60)
    for place in (*drawn, *range(directory, directory + 46)):
        spoilt = bytearray(content)
        spoilt[place] ^= 0xFF
        file.write_bytes(spoilt)
        try:
            weights = load_file(file).get_weights()
        except ValueError as error:
            refusals.append(str(error))
        else:
            harmless += 1
            np.testing.assert_array_equal(weights[0], expected[0])
    assert harmless
    assert refusals
    assert all("Received" in message for message in refusals)


def test_error_file_that_brings_code(tmp_path):
    code = keras.layers.Lambda(lambda x: x + 1)
    with pytest.raises(ValueError, match="Lambda"):
        load_file(saved(tmp_path / "student.keras", code))


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ('"class_name": "Dense"', '"class_name": "LayerOfKeras9"'),
        ('"module": "keras.layers"', '"module": "keras9.layers"'),
        ('"units": 2', '"units": 2, "argument_of_keras9": 1'),
        ('"activation": "linear"', '"activation": "no_such_function"'),
    ],
)
def test_error_file_of_another_version(tmp_path, name, replacement):
    file = saved(tmp_path / "student.keras", keras.layers.Dense(2))
    reconfigured(file, lambda config: config.replace(name, replacement))
    with pytest.raises(ValueError, match="that this Keras can read"):
        load_file(file)


def test_error_file_that_calls_another_library(tmp_path):
    mark = tmp_path / "hacked"
    dense = json.dumps(
        {"module": "os", "class_name": "mkdir", "config": {"path": str(mark)}}
    )
    file = saved(tmp_path / "student.keras", keras.layers.Dense(2))
    reconfigured(file, lambda config: config.replace('"linear"', dense))
    with pytest.raises(ValueError, match="that this Keras can read"):
        load_file(file)
    assert not mark.exists()


def test_error_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"student.keras, where no file is"):
        deployed_model(tmp_path / "student.keras")


def test_the_signature_holds_name_dtype_and_batch():
    model = deployed_model(student())
    for batch_size in (None, 1, 5):
        (spec,) = input_signature(model, batch_size)
        assert spec.shape == (batch_size, *SHAPE)
        assert (spec.name, spec.dtype.name) == ("images", "float32")


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "1"])
def test_refuses_a_batch_size(batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size!r}"):
        input_signature(deployed_model(student()), batch_size)


def test_samples_are_the_first_images_of_the_data():
    model = deployed_model(student())
    batches = [images(4), 1 + images(4), np.full((4, *SHAPE), np.nan)]
    samples = sample_images(model, batches, 6)
    assert samples.shape == (6, *SHAPE)
    np.testing.assert_array_equal(samples[:4], images(4))
    np.testing.assert_array_equal(samples[4:], 1 + images(2))
    # Endless data sets are read only as far as needed.
    endless = (images(4) for _ in iter(int, 1))
    assert len(sample_images(model, endless, 10)) == 10


def test_samples_take_the_dtype_of_the_model():
    model = deployed_model(student())
    pixels = np.arange(96, dtype="uint8").reshape(1, *SHAPE)
    assert sample_images(model, pixels, 4).dtype == "float32"


def test_random_samples_repeat_with_their_seed():
    model = deployed_model(student())
    first, again = (sample_images(model, None, 5) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (5, *SHAPE)
    assert 0 <= first.min() < 0.1 < 0.9 < first.max() < 1
    other = sample_images(model, None, 5, seed=1)
    assert np.abs(first - other).max() > 0.5


def test_random_samples_of_integers_fill_a_byte():
    inputs = keras.Input((4, 6, 3), dtype="uint8")
    model = keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs))
    samples = sample_images(model, None, 50)
    assert samples.dtype == "uint8"
    assert (samples.min(), samples.max()) == (0, 255)


def test_refuses_samples_that_are_all_the_same():
    with pytest.raises(ValueError, match=r"every value is 0.5"):
        sample_images(deployed_model(student()), np.full((3, *SHAPE), 0.5), 3)
