import concurrent.futures
import json
import os
import signal
import socket

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_selfkd.distributed import cluster
from tests import equality, toys
from tests.processes import workers

WORKERS = {"worker": ["127.0.0.1:1001", "127.0.0.1:1002"]}


def configure(monkeypatch, addresses, **task):
    text = json.dumps({"cluster": addresses, "task": {"type": "worker", **task}})
    monkeypatch.setenv("TF_CONFIG", text)


def test_reads_who_is_there(monkeypatch):
    configure(monkeypatch, WORKERS, index=1)
    assert cluster.read_cluster() == (WORKERS, "worker 1")
    with_chief = {"chief": ["host:1"], **WORKERS}
    configure(monkeypatch, with_chief, type="chief", index="0")
    assert cluster.read_cluster() == (with_chief, "chief 0")


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"cluster": {"worker": []}}'])
def test_error_no_readable_configuration(monkeypatch, text):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="needs the environment variable TF_CONFIG"):
        cluster.multi_worker_strategy()


@pytest.mark.parametrize(
    ("addresses", "task", "message"),
    [
        (WORKERS | {"ps": ["host:1"]}, {"index": 0}, "jobs .* only"),
        (WORKERS, {"index": 0, "type": "evaluator"}, "jobs .* only"),
        (WORKERS, {"index": 2}, r"lie in \[0, 2\).*Received: index=2"),
        (WORKERS, {"index": -1}, r"lie in \[0, 2\)"),
        ({"worker": ["host"]}, {"index": 0}, "'host:port'. Received: 'host'"),
        ({"worker": ["host:port"]}, {"index": 0}, "'host:port'"),
        ({"worker": ["host:70000"]}, {"index": 0}, "'host:port'"),
    ],
)
def test_error_wrong_configuration(monkeypatch, addresses, task, message):
    configure(monkeypatch, addresses, **task)
    with pytest.raises(ValueError, match=message):
        cluster.multi_worker_strategy()


def test_waits_for_those_who_listen():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        cluster.wait_for([address, address], timeout=5)


@pytest.mark.parametrize("host", ["127.0.0.1", "unknown.invalid"])
def test_error_nobody_listens(host, caplog):
    (port,) = workers.free_ports(1)
    with pytest.raises(TimeoutError, match=f"{host}:{port}: "):
        cluster.wait_for([f"{host}:{port}"], timeout=0.1)
    assert f"Waiting for {host}:{port}" in caplog.text


def test_listens_while_it_waits_for_the_others():
    own, other = (f"127.0.0.1:{port}" for port in workers.free_ports(2))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        meeting = pool.submit(cluster.meet, own, [other], timeout=20)
        cluster.wait_for([own], timeout=20)
        assert not meeting.done()
        with socket.create_server(("127.0.0.1", int(other.split(":")[1]))):
            meeting.result()


def test_error_taken_port(monkeypatch):
    with socket.create_server(("", 0)) as server:
        addresses = [f"127.0.0.1:{server.getsockname()[1]}", "127.0.0.1:1001"]
        configure(monkeypatch, {"worker": addresses}, index=0)
        with pytest.raises(ConnectionError, match=r"(?s)worker 0 could.*in use"):
            cluster.multi_worker_strategy(timeout=1)


@pytest.mark.slow
def test_two_workers_fit_evaluate_predict_and_save(tmp_path):
    processes = workers.start("tests.processes.worker_fit", [[str(tmp_path)]] * 2)
    outputs = workers.outputs_of(processes)
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = (json.loads(output.splitlines()[-1]) for output in outputs)
    assert first == second
    assert np.all(np.isfinite(first["history"]["val_loss"]))
    model = keras.models.load_model(tmp_path / "model.keras")
    images, labels = toys.class_data(21)
    predicted = model.predict(images, verbose=0)
    np.testing.assert_allclose(first["predicted"], predicted, rtol=1e-4)
    evaluated = model.evaluate(images, labels, return_dict=True, verbose=0)
    assert evaluated == pytest.approx(first["evaluated"], rel=1e-5)
    assert sorted(os.listdir(tmp_path)) == [
        "best.keras",
        "history.csv",
        "last.weights.h5",
        "model.keras",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("double")
@pytest.mark.filterwarnings("ignore:The self-teacher has:UserWarning")
@pytest.mark.filterwarnings("ignore:The student's layers after:UserWarning")
def test_two_workers_equal_one_device(tmp_path):
    files = [str(tmp_path / f"{index}.npz") for index in (0, 1)]
    processes = workers.start("tests.equality", [[file, "few"] for file in files])
    outputs = workers.outputs_of(processes)
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = (equality.load(file) for file in files)
    assert list(first) == equality.cases_of_workers()
    for (method, condition), found in first.items():
        one_device = tf.distribute.get_strategy()
        weights, losses = equality.train(method, condition, one_device)
        assert equality.difference(found, weights | losses) < 1e-5, condition
        assert equality.difference(found, second[method, condition]) == 0, condition


@pytest.mark.slow
def test_a_dead_chief_ends_the_other_soon(tmp_path):
    """The other way around a test of the runner kills its second worker."""
    processes = workers.start(
        "tests.processes.worker_fit", [[str(tmp_path), "forever"]] * 2
    )
    workers.wait_until(lambda: (tmp_path / "last.weights.h5").exists(), processes)
    processes[0].send_signal(signal.SIGKILL)
    outputs = workers.outputs_of(processes, timeout=60)
    assert processes[1].returncode not in (0, None)
    assert "task:0" in outputs[1]


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_error_a_worker_alone(index, tmp_path):
    ports = workers.free_ports(2)
    addresses = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    process = workers.start_one("tests.processes.worker_alone", [], addresses, index)
    (output,) = workers.outputs_of([process], timeout=120)
    assert process.returncode == 1
    assert f"worker {index} could not join its cluster within 3 s" in output
