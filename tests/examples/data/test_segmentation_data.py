import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from examples.data import segmentation_sources
from examples.data.segmentation_data import load_masked_data, with_binary_masks
from examples.data.segmentation_sources import open_mask_source, read_masked_images


@pytest.fixture
def folder(tmp_path):
    """CamVid's public layout: a mask's labels are the columns of its image."""

    def write(counts=(("train", 4), ("val", 2), ("test", 3)), size=(8, 12), offset=0):
        for split, count in counts:
            for name in (split, f"{split}annot"):
                (tmp_path / name).mkdir(exist_ok=True)
            for number in range(count):
                pixels = np.full((*size, 3), 10 * number, "uint8")
                mask = np.arange(size[1], dtype="uint8") // 4 + offset
                mask = np.tile(mask, (size[0], 1))
                Image.fromarray(pixels).save(tmp_path / split / f"{number}.png")
                Image.fromarray(mask).save(tmp_path / f"{split}annot/{number}.png")
        return tmp_path

    return write


@pytest.fixture
def prepared_pets(tmp_path):
    """A prepared TFDS data set like oxford_iiit_pet: labels 1 to 3, sizes differ."""
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "trimap": tfds.features.Image(shape=(None, None, 1)),
        }
    )

    def examples(count):
        for number in range(count):
            size = (10 + number, 14, 1)
            yield {
                "image": np.full((*size[:2], 3), number, "uint8"),
                "trimap": np.full(size, 1 + number % 3, "uint8"),
            }

    tfds.dataset_builders.store_as_tfds_dataset(
        name="pets",
        version="1.0.0",
        data_dir=str(tmp_path),
        features=features,
        split_datasets={
            split: tf.data.Dataset.from_generator(
                lambda count=count: examples(count),
                output_signature={
                    "image": tf.TensorSpec((None, None, 3), tf.uint8),
                    "trimap": tf.TensorSpec((None, None, 1), tf.uint8),
                },
            )
            for split, count in (("train", 6), ("test", 3))
        },
        config=None,
        disable_shuffling=True,
    )
    return tmp_path


def test_default_scenes_are_normalised_batches():
    data = load_masked_data(batch_size=4)
    images, masks = next(iter(data.train()))
    assert (images.dtype, masks.dtype) == (tf.float32, tf.int32)
    assert data.void == 255
    assert data.label_names[:2] == ["ground", "0"]
    tests = np.concatenate([images for images, _ in data.test])
    assert abs(tests.mean()) < 0.1
    assert 0.9 < tests.std() < 1.1


def test_folders_of_images_and_masks(folder):
    data = load_masked_data(
        "folder", folder(), batch_size=2, augment=False, void=99, download=False
    )
    assert data.examples == {"train": 4, "validation": 2, "test": 3}
    assert data.label_names == ["0", "1", "2"]
    for images, masks in data.test:
        assert images.shape[1:] == (8, 12, 3)
        expected = np.broadcast_to(np.arange(12) // 4, masks.shape)
        np.testing.assert_array_equal(masks, expected)


def test_masks_with_a_palette_hold_numbers_not_greys(folder):
    root = folder()
    for file in (root / "testannot").iterdir():
        mask = Image.fromarray(np.full((8, 12), 2, "uint8"), mode="P")
        mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        mask.save(file)
    data = load_masked_data("folder", root, batch_size=2)
    assert np.unique(np.concatenate([m for _, m in data.test])).tolist() == [2]


def test_error_coloured_masks(folder):
    root = folder()
    Image.new("RGB", (12, 8), "red").save(root / "testannot" / "1.png")
    with pytest.raises(ValueError, match=r"grey or with a palette.*1.png of mode RGB"):
        load_masked_data("folder", root, batch_size=2)


def test_pairs_that_cannot_be_read_are_left_out(folder, caplog):
    root = folder()
    (root / "train" / "0.png").write_text("no image")
    Image.new("L", (5, 5)).save(root / "trainannot" / "1.png")
    data = load_masked_data("folder", root, batch_size=2, bad_images="skip")
    assert data.examples["train"] == 2
    assert "2 of 4 files" in caplog.text
    assert "but its mask (5, 5)" in caplog.text


def test_error_too_large_for_memory(folder, monkeypatch):
    monkeypatch.setattr(segmentation_sources, "_IN_MEMORY_BYTES", 1000)
    with pytest.raises(ValueError, match="Choose a smaller image size"):
        load_masked_data("folder", folder(), batch_size=2)


def test_offset_and_void(folder):
    data = load_masked_data(
        "folder",
        folder(offset=0),
        batch_size=2,
        label_offset=-1,
        label_names=["a", "b"],
    )
    masks = np.concatenate([masks for _, masks in data.test])
    np.testing.assert_array_equal(np.unique(masks), [0, 1, 255])


def test_tfds_with_keys_offset_and_sizes(prepared_pets):
    data = load_masked_data(
        "pets",
        prepared_pets,
        mask_key="trimap",
        label_offset=-1,
        image_size=(8, 8),
        batch_size=2,
        download=False,
    )
    assert data.examples == {"train": 6, "test": 3}
    assert data.validation is None
    labels = [np.unique(mask).tolist() for _, mask in data.test.unbatch()]
    assert labels == [[0], [1], [2]]


def test_a_prepared_directory_is_named_by_its_path(prepared_pets):
    path = str(prepared_pets / "pets" / "1.0.0")
    source = open_mask_source(path, mask_key="trimap")
    images, masks = read_masked_images(source, "test", size=(4, 6), limit=2)
    assert (images.shape, masks.shape) == ((2, 4, 6, 3), (2, 4, 6))


def test_masks_are_resized_like_their_images(folder):
    source = open_mask_source("folder", folder(size=(8, 24)))
    _, masks = read_masked_images(source, "test", size=(4, 8))
    # 16 of 24 columns fit the aspect ratio, then every second one.
    np.testing.assert_array_equal(masks[0, 0], (4 + 2 * np.arange(8) + 1) // 4)


def test_an_epoch_repeats_with_the_seed(folder):
    root = folder()
    epochs = [
        [
            x.numpy()
            for x, _ in load_masked_data("folder", root, batch_size=2, seed=s)
            .train()
            .take(2)
        ]
        for s in (0, 0, 1)
    ]
    np.testing.assert_array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], epochs[2])


def test_error_no_folders(tmp_path):
    with pytest.raises(ValueError, match="Expected `data_dir` to hold the folders"):
        load_masked_data("folder", tmp_path)
    with pytest.raises(ValueError, match="data_dir=None"):
        load_masked_data("folder")


def test_error_a_mask_is_missing(folder):
    root = folder()
    (root / "trainannot" / "2.png").unlink()
    with pytest.raises(ValueError, match=r"Missing: .*trainannot/2.png \(1 in all\)"):
        load_masked_data("folder", root)


def test_error_no_images(folder):
    root = folder()
    for file in (root / "val").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"Expected images .* in .*val"):
        load_masked_data("folder", root)


@pytest.mark.parametrize(
    ("bad_images", "message"),
    [
        ("refuse", r"test/1.png \(\(8, 12\) pixels, but its mask \(5, 5\)\)"),
        ("trust", r"image 1 of .* 'test', image \(8, 12, 3\)"),
    ],
)
def test_error_a_mask_of_another_size(folder, bad_images, message):
    root = folder()
    Image.fromarray(np.zeros((5, 5), "uint8")).save(root / "testannot" / "1.png")
    with pytest.raises(ValueError, match=message):
        load_masked_data("folder", root, batch_size=2, bad_images=bad_images)


@pytest.mark.parametrize(
    ("bad_images", "message"),
    [
        ("refuse", r"--bad_images=skip.*train/3.png \(cannot identify"),
        ("trust", r"image 3 of .* split 'train'"),
    ],
)
def test_error_a_broken_file(folder, bad_images, message):
    root = folder()
    (root / "train" / "3.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=message):
        load_masked_data("folder", root, batch_size=2, bad_images=bad_images)


@pytest.fixture
def two_classes(folder):
    """Labels 0, 1 and 9, which is void, in thirds of every mask."""
    root = folder()
    for file in root.glob("*annot/*.png"):
        mask = np.tile(np.repeat([0, 1, 9], 4).astype("uint8"), (8, 1))
        Image.fromarray(mask).save(file)
    return load_masked_data("folder", root, batch_size=2, augment=False, void=9)


def test_void_pixels_of_one_logit_weigh_nothing(two_classes):
    data = with_binary_masks(two_classes)
    for batches in (data.train(0).take(1), data.validation):
        for _, masks, weights in batches:
            assert masks.shape[1:] == (8, 12, 1)
            assert masks.numpy()[0, 0, :, 0].tolist() == [0] * 4 + [1] * 4 + [0] * 4
            assert weights.numpy()[0, 0].tolist() == [1.0] * 8 + [0.0] * 4
    _, masks = next(iter(data.test))
    assert np.unique(masks).tolist() == [0, 1, 9]


def test_error_one_logit_for_three_classes(folder):
    data = load_masked_data("folder", folder(), batch_size=2)
    with pytest.raises(ValueError, match="with 3 classes: 0, 1, 2"):
        with_binary_masks(data)


def test_error_images_of_different_sizes(prepared_pets):
    with pytest.raises(ValueError, match="Expected images of one size"):
        load_masked_data("pets", prepared_pets, mask_key="trimap", download=False)


def test_error_labels_out_of_range(folder):
    with pytest.raises(ValueError, match=r"labels \[2\], void=255"):
        load_masked_data("folder", folder(), batch_size=2, label_names=["a", "b"])
    with pytest.raises(ValueError, match="void=1"):
        load_masked_data("folder", folder(), batch_size=2, void=1)


def test_error_unknown_features(prepared_pets):
    with pytest.raises(ValueError, match=r"'segmentation_mask'.*\['image', 'trimap'\]"):
        load_masked_data("pets", prepared_pets, download=False)


def test_error_too_few_images(folder):
    with pytest.raises(ValueError, match="batch_size=8, but 4 training images"):
        load_masked_data("folder", folder())
