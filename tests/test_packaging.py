import ast
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

import keras_selfkd

ROOT = pathlib.Path(__file__).parents[1]


OWN = ("keras_selfkd", "examples", "benchmarks", "docs", "tests")


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.fixture
def setup_arguments(tmp_path):
    return arguments_of_setup(tmp_path)


def arguments_of_setup(tmp_path):
    """What setup.py hands to setuptools beside a package that cannot be imported."""
    shutil.copy(ROOT / "setup.py", tmp_path)
    package = tmp_path / "keras_selfkd"
    package.mkdir()
    (package / "__init__.py").write_text('raise ImportError\n__version__ = "1.2.3"\n')
    shutil.copytree(package, tmp_path / "keras_selfkd" / "methods")
    shutil.copytree(package, tmp_path / "examples")
    shutil.copytree(package, tmp_path / "tests")
    code = (
        "import runpy, setuptools; setuptools.setup = lambda **k: print(repr(k)); "
        "runpy.run_path('setup.py')"
    )
    result = run(sys.executable, "-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    return ast.literal_eval(result.stdout)


def module_of(requirement):
    others = {
        "absl-py": "absl",
        "griffelib": "griffe",
        "pillow": "PIL",
        "pyyaml": "yaml",
        "scikit-learn": "sklearn",
    }
    return others.get(requirement, requirement.replace("-", "_"))


def names(requirements):
    return {re.split(r"[<>=]", requirement)[0] for requirement in requirements}


@pytest.mark.slow
def test_the_package_imports_without_any_extra(setup_arguments):
    # TensorFlow brings absl.
    needed = names(setup_arguments["install_requires"]) | {"absl-py"}
    extras = names(setup_arguments["extras_require"]["dev"]) - needed
    # None in sys.modules makes an import fail as if nothing were installed.
    absent = dict.fromkeys(map(module_of, extras))
    code = f"import sys; sys.modules.update({absent}); import keras_selfkd"
    result = run(sys.executable, "-c", code, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_every_public_name_exists_and_is_documented():
    undocumented = [
        name for name in keras_selfkd.__all__ if not getattr(keras_selfkd, name).__doc__
    ]
    assert undocumented == []


def test_version_is_read_without_importing_the_package(setup_arguments):
    assert setup_arguments["version"] == "1.2.3"


def test_installed_version_is_the_packages():
    assert importlib.metadata.version("keras_selfkd") == keras_selfkd.__version__


def test_changelog_names_the_version():
    assert keras_selfkd.__version__ in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_only_the_package_is_installed(setup_arguments):
    assert sorted(setup_arguments["packages"]) == [
        "keras_selfkd",
        "keras_selfkd.methods",
    ]


def test_every_requirement_states_a_minimum(setup_arguments):
    extras = setup_arguments["extras_require"]
    for requirements in [setup_arguments["install_requires"], *extras.values()]:
        assert all(">=" in requirement for requirement in requirements)


def test_exports_need_litert_alone_and_runners_all_formats(setup_arguments):
    extras = setup_arguments["extras_require"]
    assert names(extras["litert"]) == {"ai-edge-litert"}
    assert {*extras["litert"], *extras["onnx"], *extras["plots"]} < {*extras["runners"]}
    assert extras["examples"] == extras["runners"]


def test_every_extra_that_a_message_names_exists(setup_arguments):
    named = {
        extra
        for path in python_files()
        if path.is_relative_to(ROOT / "keras_selfkd")
        for extra in re.findall(r"keras_selfkd\[([\w-]+)\]", path.read_text("utf-8"))
    }
    assert "litert" in named
    assert named <= {*setup_arguments["extras_require"]}


README = """Text.

![A picture,
of two lines](benchmarks/a.png)

[`a`](benchmarks/a.md), [b](b.md) and [c](https://c.example), [d](
https://d.example); a list [1] (of one).
"""


def test_the_long_description_links_to_nothing_beside_it(tmp_path):
    (tmp_path / "README.md").write_text(README)
    arguments = arguments_of_setup(tmp_path)
    assert arguments["long_description"] == (
        "Text.\n\n`a`, b and [c](https://c.example), [d](\n"
        "https://d.example); a list [1] (of one).\n"
    )


def test_dev_holds_all_other_extras_but_those_of_the_site(setup_arguments):
    extras = setup_arguments["extras_require"]
    site = names(extras.pop("docs"))
    assert site
    assert set().union(*map(names, extras.values())) == names(extras["dev"])


def test_what_the_code_imports_is_declared(setup_arguments):
    requirements = names(setup_arguments["install_requires"])
    extras = setup_arguments["extras_require"]
    requirements |= names(extras["dev"]) | names(extras["docs"])
    with_keras = {"h5py", "numpy"}  # Keras asks for them.
    known = {*map(module_of, requirements), *with_keras, *sys.stdlib_module_names, *OWN}
    undeclared = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in python_files()
        for module in imported_modules(path) - known
    }
    assert undeclared == set()


def python_files():
    return [path for folder in OWN for path in (ROOT / folder).rglob("*.py")]


def imported_modules(path):
    modules = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
    return modules


def test_ignored_warnings_name_their_module_and_the_reason():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    filters = tomllib.loads(text)["tool"]["pytest"]["ini_options"]["filterwarnings"]
    assert filters[0] == "error"
    for line in filters[1:]:
        assert re.fullmatch(r"ignore:.+:\w+:[\w.]+", line), line
        before = text[: text.index(line)].rstrip(' \n"')
        assert before.splitlines()[-1].lstrip().startswith("#"), line


def copy_makefile(tmp_path):
    for name in ("Makefile", "setup.py"):
        shutil.copy(ROOT / name, tmp_path)


@pytest.mark.parametrize("target", ["demo", "test", "test-slow", "docs", "lint"])
def test_make_refuses_an_old_python_by_name(tmp_path, target):
    copy_makefile(tmp_path)
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.1\nexit 1\n')
    old.chmod(0o755)
    result = run("make", f"PYTHON={old}", target, cwd=tmp_path)
    assert result.returncode != 0
    assert f"needs Python 3.11 or newer, but {old} is Python 3.9.1" in result.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("target", "extra"),
    [
        ("demo", "examples"),
        ("test", "dev"),
        ("test-slow", "dev"),
        ("docs", "docs"),
        ("lint", "dev"),
    ],
)
def test_make_installs_only_what_the_target_needs(tmp_path, target, extra):
    copy_makefile(tmp_path)
    result = run("make", "--dry-run", target, cwd=tmp_path)
    assert re.findall(r"--editable \"\.\[(.+)\]\"", result.stdout) == [extra]


@pytest.mark.slow
@pytest.mark.minutes
def test_demo_runs_from_a_fresh_clone_and_the_wheel_without_it(tmp_path):
    """Needs a package index: it fills an environment of its own."""
    clone = tmp_path / "keras_selfkd"
    listing = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, run(*listing, cwd=ROOT).stdout.split("\0")):
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    result = run("make", "demo", cwd=clone)
    assert result.returncode == 0, result.stderr
    assert "1,297 of 1,297 predictions agree with Keras" in result.stdout
    folder = clone / "runs" / "digits-small_resnet-cskd-0"
    scores = json.loads((folder / "result.json").read_text())["scores"]
    assert scores["supervised"]["accuracy"] > 0.93
    assert scores["cskd"]["accuracy"] > 0.93
    python = clone / ".venv/bin/python"
    # A script beside the clone must not take that for the package.
    code = "import keras_selfkd; print(keras_selfkd.FRSKD)"
    result = run(python, "-c", code, cwd=tmp_path, env=without_paths())
    assert "keras_selfkd.methods" in result.stdout, result.stderr
    packages = run(python, "-m", "pip", "list").stdout
    assert not re.search("^(pytest|keras-cv|keras-hub) ", packages, re.MULTILINE)
    # The environment is good for another test, which would fill one like it.
    wheel_works_without_the_clone(python, clone)


# Another kind of method than README's ten lines show, and the file that is shipped.
SHIP = """
import tensorflow as tf
from keras_selfkd import PSKD, export_student, with_index

images = tf.random.uniform((8, 96, 96, 3), maxval=255.0)
data = tf.data.Dataset.from_tensor_slices((images, tf.range(8)))
model = SelfDistillationModel(student, PSKD(examples=8))
model.compile(optimizer="sgd", loss=loss, metrics=["accuracy"])
model.fit(with_index(data).batch(4), epochs=1, shuffle=False)
print(export_student("student.keras", "student.tflite"))
print("from", keras_selfkd.__file__)
"""


def wheel_works_without_the_clone(python, clone):
    """Builds the wheel, and runs what a user of it would in an empty directory.

    Args:
        python: Path of the interpreter of an environment to install it in. What its
            extra for LiteRT files does not ask for counts as not installed.
        clone: Path of the tree.
    """
    folder = clone / "empty"
    folder.mkdir()
    pip = (python, "-m", "pip", "--quiet")
    wheel = f"keras_selfkd-{keras_selfkd.__version__}-py3-none-any.whl"
    for command in (
        ("wheel", "--no-deps", f"--wheel-dir={clone / 'wheel'}", clone),
        ("uninstall", "--yes", "keras_selfkd"),
        ("install", "--no-deps", clone / "wheel" / wheel),
    ):
        result = run(*pip, *command)
        assert result.returncode == 0, result.stderr
    requirements = importlib.metadata.requires("keras_selfkd")
    others = [r for r in requirements if "extra ==" in r and "litert" not in r]
    absent = {module_of(name.strip()) for name in names(others)} - {
        "tensorflow",
        "absl",
    }
    assert {"matplotlib", "sklearn", "onnx"} < absent
    ten_lines = re.search(
        "```python\n(.*?)```", (clone / "README.md").read_text(), re.S
    )
    setup = f"import sys; sys.modules.update({dict.fromkeys(absent)})\n"
    code = f"{setup}import keras_selfkd\n{ten_lines[1]}{SHIP}"
    result = run(python, "-c", code, cwd=folder, env=without_paths())
    assert result.returncode == 0, result.stderr[-5000:]
    assert re.search(r"from .*site-packages/keras_selfkd/__init__\.py", result.stdout)
    assert "agree" in result.stdout
    assert {path.name for path in folder.iterdir()} >= {
        "student.keras",
        "student.tflite",
    }


def without_paths():
    """The environment's variables but those that lead Python to this clone."""
    return {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}


def test_ci_runs_every_check():
    assert "make lint test test-slow docs" in (ROOT / ".ci" / "run").read_text("utf-8")
