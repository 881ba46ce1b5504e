"""The commands that stand in README and docs/ run."""

import importlib
import os
import pathlib
import re
import shlex
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from examples.students.by_name import build_student

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    return re.findall(r"```bash\n(.*?)```", text, re.DOTALL)


def commands():
    """Each once."""
    lines = dict.fromkeys("\n".join(blocks()).splitlines())
    found = [line for line in lines if line.startswith("python -m examples.")]
    # Those of two machines, of studies and without flags run in tests of their own.
    elsewhere = re.compile("multi_worker|export_student|examples.compare|train_\\w+$")
    return [line for line in found if not elsewhere.search(line)]


def test_there_are_commands_to_run():
    assert len(commands()) >= 4


def camvid_like(root):
    """Flags of a few coloured images in folders, for students that need colours."""
    for folder in ("train", "val", "test"):
        for name, shape in ((folder, (192, 256, 3)), (f"{folder}annot", (192, 256))):
            (root / name).mkdir(parents=True)
            for number in range(8):
                pixels = np.random.default_rng(number).integers(0, 4, shape, "uint8")
                Image.fromarray(pixels).save(root / name / f"{number}.png")
    return ["--dataset=folder", f"--data_dir={root}"]


def black_and_white(root):
    """Flags of a few images/ with masks/ of 0 and 255."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(24):
        mask = np.random.default_rng(number).integers(0, 2, (64, 64), "uint8") * 255
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
        Image.fromarray(np.stack([mask] * 3, -1)).save(
            root / "images" / f"{number}.png"
        )
    return ["--dataset=folder", f"--data_dir={root}"]


def trained_on_others(root):
    """The flag that names a network for images like the digits, of other classes."""
    build_student("thin_resnet18", (32, 32, 1), 4).save(root / "other.keras")
    return f"--weights={root / 'other.keras'}"


def run_in_this_process(module, *arguments):
    """Runs what `python -m module ...` does, but eagerly: large students, few steps."""
    policy, main = keras.config.dtype_policy(), importlib.import_module(module).main
    tf.config.run_functions_eagerly(True)
    try:
        with flagsaver.flagsaver():
            main(flags.FLAGS([module, "--verbose=0", *arguments]))
    finally:
        tf.config.run_functions_eagerly(False)
        keras.config.set_dtype_policy(policy)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("command", commands())
def test_commands_run(command, tmp_path):
    """With --fast, and on the offline data where others would have to be there."""
    of_data = ("--dataset", "--data_dir", "--train_per_class", "--void", "--image_size")
    words = [w for w in shlex.split(command) if not w.startswith(of_data)]
    # A baseline and exports are what the runners' own tests look at.
    more = ["--fast", "--nobaseline", "--noexport", f"--run_dir={tmp_path / 'run'}"]
    if "--student=mobilenet_v3_fpn" in words:
        more += ["--image_size=192,256", *camvid_like(tmp_path / "data")]
    if "--student=efficientnet_bifpn" in words:
        more += ["--image_size=160", *camvid_like(tmp_path / "data")]
    if "--binary" in words:
        more += black_and_white(tmp_path / "data")
    if "--student=resnet18" in words:
        more += ["--image_size=16"]
    if "--dataset=imagenet2012" in command:
        more += ["--image_size=32"]
    if "--weights=runs/eighty" in words:
        more += [trained_on_others(tmp_path)]
    run_in_this_process(*words[2:], *more)
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"student.keras", "result.json"} <= files


@pytest.mark.slow
def test_commands_that_ship_run_one_after_another(tmp_path):
    block = next(block for block in blocks() if "export_student" in block)
    export, classify = block.splitlines()
    run = re.search(r"--model=(\S+)", export)[1]
    train = f"python -m examples.train_classifier --fast --noexport --run_dir={run}"
    Image.fromarray(np.full((40, 30, 3), 99, "uint8")).save(tmp_path / "photo.png")
    script = f"python {ROOT}/{classify.removeprefix('python ')}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for command in (train, export, script):
        done = subprocess.run(
            [sys.executable, *shlex.split(command)[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert "photo.png:" in done.stdout
    assert (tmp_path / run / "export" / "model_card.md").exists()
