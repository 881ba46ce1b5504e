import os
import pathlib
import shlex
import subprocess

import yaml
from absl import flags

from examples import train_classifier
from keras_selfkd import cluster

FILE = pathlib.Path(train_classifier.__file__).with_name("kubernetes_job.yaml")


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
