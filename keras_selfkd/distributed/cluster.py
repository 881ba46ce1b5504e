"""Joining the workers that `TF_CONFIG` names, or saying in time why that fails."""

import itertools
import json
import logging
import os
import socket
import time

import tensorflow as tf

EXAMPLE = (
    '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
JOBS = ("chief", "worker")


def multi_worker_strategy(timeout=300):
    """Returns a `tf.distribute.MultiWorkerMirroredStrategy` over `TF_CONFIG`'s workers.

    Waits until all workers have started. Call it before any other TensorFlow
    operation. When a worker dies later, the others' steps raise a
    `tf.errors.UnavailableError` that names it, as soon as TensorFlow misses its
    heartbeat.

    Args:
        timeout: Seconds to wait for the other workers, at least 1. Defaults to `300`.

    Raises:
        ValueError: if `TF_CONFIG` is missing or wrong; the message says where.
        ConnectionError: if a worker cannot be reached in time.
    """
    cluster, task = read_cluster()
    job, index = task.split()
    own_address = cluster[job][int(index)]
    addresses = [address for job in JOBS for address in cluster.get(job, [])]
    try:
        meet(own_address, [each for each in addresses if each != own_address], timeout)
        bound_waiting(cluster, timeout)
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, OSError) as error:
        raise ConnectionError(
            f"{task} could not join its cluster within {timeout} s. Start all of "
            f"{addresses} with one TF_CONFIG that differs in `task` only, and check "
            f"host names, ports and firewalls. The cause: {error}"
        ) from error


def read_cluster():
    """Returns the addresses by job, and this worker's name, from `TF_CONFIG`."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        cluster, task = dict(config["cluster"]), dict(config["task"])
        job, index = task["type"], int(task["index"])
        addresses = {name: list(cluster[name]) for name in cluster}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "Training on several workers needs the environment variable TF_CONFIG on "
            f"each of them, for example {EXAMPLE}. Received: TF_CONFIG={text!r}"
        ) from error
    if job not in addresses or addresses.keys() - set(JOBS):
        raise ValueError(
            f"Expected TF_CONFIG to have the jobs {JOBS} only, this task's among them, "
            f"for example {EXAMPLE}. Received: TF_CONFIG={text!r}"
        )
    if not 0 <= index < len(addresses[job]):
        raise ValueError(
            f"Expected the task's index in TF_CONFIG to lie in [0, "
            f"{len(addresses[job])}), the number of {job}s. Received: index={index}"
        )
    for address in itertools.chain(*addresses.values()):
        host, _, port = str(address).rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 2**16:
            raise ValueError(
                f"Expected addresses in TF_CONFIG as 'host:port'. Received: {address!r}"
            )
    return addresses, f"{job} {index}"


def bound_waiting(cluster, timeout):
    """Has TensorFlow wait `timeout` seconds for the others, not an hour."""
    # Private, because the public API has no setting for it.
    from tensorflow.python.eager import context

    if not hasattr(context.context(), "configure_coordination_service"):
        logging.warning("This TensorFlow may wait an hour for workers that are missing")
        return
    jobs = [
        context.coordination_config_pb2.CoordinatedJob(
            name=job, num_tasks=len(cluster[job])
        )
        for job in JOBS
        if job in cluster
    ]
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{jobs[0].name}/replica:0/task:0",
        cluster_register_timeout_in_ms=max(1000, int(1000 * timeout)),
        coordinated_jobs=jobs,
    )


def meet(own_address, others, timeout):
    """Listens at the own address until something listens at each of the others.

    TensorFlow's leader does not wait for the others, and TensorFlow 2.18's others at
    times wait for ever for a leader that is missing.

    Raises:
        OSError: if the own port is taken, or a `TimeoutError` after `timeout` seconds.
    """
    port = int(own_address.rpartition(":")[2])
    # TensorFlow listens on all interfaces too: the host may be a service's name.
    both = socket.has_dualstack_ipv6()
    with socket.create_server(
        ("", port),
        family=socket.AF_INET6 if both else socket.AF_INET,
        dualstack_ipv6=both,
        backlog=max(128, len(others)),
    ):
        wait_for(others, timeout)


def wait_for(addresses, timeout):
    """Waits until something listens at each address.

    Raises:
        TimeoutError: after `timeout` seconds.
    """
    end = time.monotonic() + timeout
    for address in addresses:
        host, _, port = address.rpartition(":")
        waiting = False
        while True:
            try:
                socket.create_connection((host.strip("[]"), int(port)), 5).close()
                break
            except OSError as error:
                if time.monotonic() > end:
                    raise TimeoutError(f"{address}: {error}") from error
                if not waiting:
                    logging.warning("Waiting for %s (%s)", address, error)
                waiting = True
                time.sleep(0.2)
