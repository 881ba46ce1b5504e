"""Starts a module in several real worker processes on this machine."""

import concurrent.futures
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import tensorflow as tf

ROOT = pathlib.Path(__file__).parents[2]


def run_graphs_as_written():
    """Without TensorFlow's optimiser: a third of the time of so short trainings.

    It also orders the sums of equal graphs differently, to the last bit. The runners
    that tests start keep it, as users do.
    """
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start(module, arguments, count=2):
    """Returns the processes; their output and errors are one text stream."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(count)]}
    return [start_one(module, arguments[i], cluster, i) for i in range(count)]


def start_one(module, arguments, cluster, index):
    task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
    environment = {"TF_CONFIG": json.dumps(task), "TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(condition, processes, timeout=300):
    """Waits for a condition while all processes run; stops them if it does not come."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end or any(each.poll() is not None for each in processes):
            for process in processes:
                process.kill()
            raise AssertionError(outputs_of(processes))
        time.sleep(0.05)


def outputs_of(processes, timeout=600):
    """Waits for the processes; returns their outputs, or stops all and raises."""
    with concurrent.futures.ThreadPoolExecutor(len(processes)) as pool:
        waiting = [pool.submit(each.communicate, timeout=timeout) for each in processes]
        try:
            return [one.result()[0] for one in waiting]
        finally:
            for process in processes:
                process.kill()  # SIGTERM does not end TensorFlow's workers.
