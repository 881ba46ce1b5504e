import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import yaml
from absl import flags

import keras_selfkd
from examples import train_classifier
from keras_selfkd.distributed import cluster
from tests.test_packaging import arguments_of_setup

FILE = pathlib.Path(train_classifier.__file__).with_name("kubernetes_job.yaml")
ROOT = FILE.parents[1]


def parts():
    return list(yaml.safe_load_all(FILE.read_text(encoding="utf-8")))


def run_script(index, tmp_path):
    """What the container's shell gives to Python: its TF_CONFIG and arguments."""
    _, job = parts()
    container = job["spec"]["template"]["spec"]["containers"][0]
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho $TF_CONFIG\necho "$@"\n')
    python.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "JOB_COMPLETION_INDEX": str(index),
    }
    command = [*container["command"], *container["args"]]
    output = subprocess.check_output(command, env=environment, text=True)
    return output.splitlines()


def test_every_worker_reads_its_cluster(tmp_path, monkeypatch):
    service, job = parts()
    count = job["spec"]["completions"]
    assert count == job["spec"]["parallelism"]
    name, subdomain = job["metadata"]["name"], job["spec"]["template"]["spec"]
    assert service["metadata"]["name"] == subdomain["subdomain"]
    port = service["spec"]["ports"][0]["port"]
    hosts = [f"{name}-{i}.{subdomain['subdomain']}:{port}" for i in range(count)]
    for index in range(count):
        config, _ = run_script(index, tmp_path)
        monkeypatch.setenv("TF_CONFIG", config)
        assert cluster.read_cluster() == ({"worker": hosts}, f"worker {index}")


def test_the_command_is_one_of_the_runners(tmp_path):
    _, line = run_script(0, tmp_path)
    module, *arguments = shlex.split(line)[1:]
    assert module == "examples.train_classifier"
    known = flags.FLAGS.get_key_flags_for_module(train_classifier)
    names = {flag.name for flag in known} | {f"no{flag.name}" for flag in known}
    assert {argument[2:].split("=")[0] for argument in arguments} <= names


def instructions():
    """Pairs of words of the Dockerfile: what to do, with what."""
    lines = FILE.with_name("Dockerfile").read_text(encoding="utf-8").splitlines()
    return [line.split(maxsplit=1) for line in lines if not line.startswith("#")]


def test_the_image_holds_what_its_job_runs(tmp_path):
    copied = [rest.split() for what, rest in instructions() if what == "COPY"]
    there = tmp_path / "image"
    there.mkdir()
    for *sources, target in copied:
        for source in sources:
            assert (ROOT / source).exists(), source
            if (ROOT / source).is_dir():
                assert target == source
                shutil.copytree(ROOT / source, there / target)
            else:
                shutil.copy(ROOT / source, there)
    (installed,) = [rest for what, rest in instructions() if what == "RUN"]
    (extra,) = re.findall(r'"\.\[(.+?)\]"', installed)
    assert extra in arguments_of_setup(tmp_path)["extras_require"]
    # The module that the job starts is found where the image starts it.
    _, line = run_script(0, tmp_path)
    module = shlex.split(line)[1]
    code = f"import importlib.util; print(importlib.util.find_spec({module!r}).origin)"
    found = subprocess.check_output([sys.executable, "-c", code], cwd=there, text=True)
    assert found.strip() == str(there / "examples" / "train_classifier.py")
    (command,) = [json.loads(rest) for what, rest in instructions() if what == "CMD"]
    assert command == ["python", "-m", module]


def test_the_image_has_the_name_and_the_version_of_the_job():
    _, job = parts()
    image = job["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.endswith(f":{keras_selfkd.__version__}")
    assert f"-t {image} ." in FILE.with_name("Dockerfile").read_text(encoding="utf-8")
