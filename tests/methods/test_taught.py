import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd import SelfDistillationModel, Taught
from keras_selfkd.losses import normalized_mse, soft_label
from tests import toys
from tests.methods.batches import terms_of


@pytest.mark.parametrize("kind", ["class", "pixel"])
def test_a_teachers_terms_are_the_formula(kind):
    create = toys.classifier if kind == "class" else toys.segmenter
    images, labels = (toys.class_data if kind == "class" else toys.pixel_data)()
    teacher = create()
    method = Taught(teacher, soft_label_weight=1.0, temperature=2.0)
    model = SelfDistillationModel(create(), method)
    student, terms = terms_of(model, images, labels)
    paths = model.taps
    tapped = keras.Model(
        teacher.input,
        [teacher.output, *(_layer(teacher, path).output for path in paths)],
    )
    logits, *maps = tapped(images, training=False)
    expected = sum(map(normalized_mse, maps, student.features))
    np.testing.assert_allclose(terms["feature"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        terms["soft_label"], soft_label(logits, student.logits, 2.0), rtol=1e-5
    )
    assert set(terms) == {"task", "feature", "soft_label"}


def _layer(model, path):
    return model.get_layer(path)


def test_a_larger_teachers_map_is_resized_and_the_students_projected():
    teacher_images = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(10, 3, strides=2, padding="same", name="map")(
        teacher_images
    )
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    teacher = keras.Model(teacher_images, keras.layers.Dense(7)(pooled))
    method = Taught(teacher, teacher_taps=["map"], soft_label_weight=0)
    model = SelfDistillationModel(toys.classifier(), method, taps=["out2"])
    (projection,) = method.projections
    assert projection.get_layer("projection").kernel.shape == (1, 1, 6, 10)
    images, labels = toys.class_data()
    student, terms = terms_of(model, images, labels)
    (found,) = keras.Model(teacher.input, [x])(images)[None]
    target = tf.image.resize(found, (4, 4))
    expected = normalized_mse(target, projection(student.features[0]))
    np.testing.assert_allclose(terms["feature"], expected, rtol=1e-4)


def test_the_teacher_is_left_as_it_is_and_out_of_the_student(tmp_path):
    teacher = toys.classifier()
    before = teacher.get_weights()
    model = SelfDistillationModel(
        toys.classifier(), Taught(teacher, soft_label_weight=0)
    )
    model.compile(keras.optimizers.Adam(0.01), toys.cross_entropy())
    model.fit(*toys.class_data(), epochs=2, verbose=0)
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    theirs = {variable.path for variable in teacher.variables}
    assert not any(v is t for v in model.trainable_variables for t in teacher.variables)
    assert theirs
    assert model.student.count_params() == toys.classifier().count_params()
    model.student.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    assert loaded.count_params() == toys.classifier().count_params()


def test_a_saved_model_goes_on_with_its_teacher(tmp_path):
    model = SelfDistillationModel(
        toys.classifier(), Taught(toys.classifier(), soft_label_weight=1.0)
    )
    model.compile(keras.optimizers.Adam(0.01), toys.cross_entropy())
    data = toys.class_data()
    model.fit(*data, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for ours, theirs in zip(
        model.method.teacher.get_weights(),
        loaded.method.teacher.get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    one, other = (m.fit(*data, verbose=0).history for m in (model, loaded))
    assert one == other


def test_a_float32_teacher_of_a_float16_student():
    teacher = toys.classifier()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        method = Taught(teacher, soft_label_weight=1.0)
        model = SelfDistillationModel(toys.classifier(), method)
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(keras.optimizers.SGD(0.01), toys.cross_entropy())
    logs = model.fit(*toys.class_data(), verbose=0).history
    assert all(np.isfinite(values[0]) for values in logs.values())


def test_the_features_of_a_softmax_teacher_may_be_learnt():
    classifier = toys.classifier()
    softmax = keras.layers.Softmax()(classifier.output)
    teacher = keras.Model(classifier.input, softmax)
    model = SelfDistillationModel(
        toys.classifier(), Taught(teacher, soft_label_weight=0)
    )
    model.compile("sgd", toys.cross_entropy())
    model.fit(*toys.class_data(), verbose=0)
    with pytest.raises(ValueError, match="The teacher must output logits"):
        SelfDistillationModel(toys.classifier(), Taught(teacher, soft_label_weight=1.0))


def test_error_a_teacher_that_is_the_student():
    student = toys.classifier()
    with pytest.raises(ValueError, match="must have weights of its own"):
        SelfDistillationModel(student, Taught(student, soft_label_weight=0))


def test_error_other_images():
    method = Taught(toys.classifier((16, 16, 1)), soft_label_weight=0)
    with pytest.raises(ValueError, match=r"must take the student's images.*16, 16, 1"):
        SelfDistillationModel(toys.classifier(), method)


def test_error_other_number_of_taps():
    method = Taught(toys.classifier(), teacher_taps=["out1"], soft_label_weight=0)
    with pytest.raises(ValueError, match=r"\['out1'\] for 3 taps of the student"):
        SelfDistillationModel(toys.classifier(), method)


def test_error_unknown_teacher_tap():
    method = Taught(toys.classifier(), teacher_taps=["ou1"], soft_label_weight=0)
    with pytest.raises(ValueError, match=r"Unknown tap 'ou1'. Closest names: out"):
        SelfDistillationModel(toys.classifier(), method)


@pytest.mark.parametrize(
    "teacher", [lambda: toys.classifier(classes=7), toys.segmenter]
)
def test_error_soft_labels_of_another_output(teacher):
    method = Taught(teacher(), teacher_taps=["out1"], soft_label_weight=1.0)
    with pytest.raises(ValueError, match="must have the student's classes"):
        SelfDistillationModel(toys.classifier(), method, taps=["out1"])


def test_default_weights():
    weight = normalized_mse.default_weight
    taught = Taught(toys.classifier())
    assert taught.loss_weights == {"task": 1.0, "soft_label": 1.0, "feature": weight}
    taught = Taught(toys.classifier(), soft_label_weight=0, feature_weight=5.0)
    assert taught.loss_weights == {"task": 1.0, "feature": 5.0}


def test_logits_alone_need_no_taps():
    """Also of a student whose maps have another number, or none."""
    images = keras.Input((16, 16, 3))
    flat = keras.layers.Flatten()(images)
    student = keras.Model(images, keras.layers.Dense(toys.CLASSES)(flat))
    model = SelfDistillationModel(student, Taught(toys.classifier(), feature_weight=0))
    data = toys.class_data()
    student, terms = terms_of(model, *data)
    logits = model.method.teacher(data[0], training=False)
    scaled = np.array(logits, "float64") / 4, np.array(student.logits, "float64") / 4
    p, q = (np.exp(z) / np.exp(z).sum(-1, keepdims=True) for z in scaled)
    expected = 16 * np.sum(p * (np.log(p) - np.log(q)), axis=-1)
    np.testing.assert_allclose(terms["soft_label"], expected, rtol=1e-4)
    assert terms.keys() == {"task", "soft_label"}


@pytest.mark.parametrize("teacher", [None, "model.keras", toys.classifier])
def test_error_no_model(teacher):
    with pytest.raises(ValueError, match=r"Expected teacher to be .*load_model"):
        Taught(teacher)


@keras.saving.register_keras_serializable(package="tests")
def as_the_teacher_wants(images):
    return tf.image.resize(2.0 * images - 1.0, (20, 20))


@pytest.mark.parametrize("kind", ["layer", "function"])
def test_a_teacher_of_other_images_gets_them_preprocessed(kind, tmp_path):
    if kind == "layer":
        preprocess, size = keras.layers.Rescaling(2.0, offset=-1.0), (16, 16, 3)
    else:
        preprocess, size = as_the_teacher_wants, (20, 20, 3)
    teacher = toys.classifier(size)
    method = Taught(teacher, feature_weight=0, temperature=2.0, preprocess=preprocess)
    model = SelfDistillationModel(toys.classifier(), method)
    images, labels = toys.class_data()
    student, terms = terms_of(model, images, labels)
    logits = teacher(preprocess(images), training=False)
    expected = soft_label(logits, student.logits, 2.0)
    np.testing.assert_allclose(terms["soft_label"], expected, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    _, again = terms_of(loaded, images, labels)
    np.testing.assert_allclose(again["soft_label"], terms["soft_label"], rtol=1e-5)


def test_error_preprocess():
    with pytest.raises(ValueError, match="Expected preprocess to be a Layer"):
        Taught(toys.classifier(), preprocess=keras.layers.Rescaling)
    with pytest.raises(ValueError, match=r"Taught\(teacher, preprocess=...\)"):
        SelfDistillationModel(toys.classifier(), Taught(toys.classifier((20, 20, 3))))
