"""The machines of one run, as `TF_CONFIG` names them, and how they find each other before TensorFlow starts.

TensorFlow waits an hour for a host that is down and does not say for which; here the chief counts the others, within a
time limit, and tells all of them who is missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

from melanoma_tf.errors import UserError

VARIABLE = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
JOBS = ("chief", "worker")
RETRY_SECONDS = 0.2
GREETING, GO = "melanoma-tf", "go"


@dataclasses.dataclass(frozen=True)
class Cluster:
    """hosts: `name:port` of every process, the chief first; index: which of them this one is."""

    hosts: tuple[str, ...]
    index: int


def read_cluster(text: str) -> Cluster:
    """The processes that `TF_CONFIG` names. Raises UserError that says what is wrong with it."""
    try:
        value = json.loads(text)
        hosts = {job: list(value["cluster"][job]) for job in value["cluster"]}
        job, index = value["task"]["type"], int(value["task"]["index"])
    except ValueError as error:
        raise UserError(f"{VARIABLE} is not JSON ({error}); expected {EXAMPLE}") from error
    except (KeyError, TypeError, AttributeError) as error:
        missing = f"lacks {error}" if isinstance(error, KeyError) else "has another form"
        raise UserError(f"{VARIABLE} {missing}; expected {EXAMPLE}") from error
    unknown = sorted({*hosts, job} - set(JOBS))
    if unknown:
        raise UserError(f"{VARIABLE} names the job {unknown[0]!r}; valid: {', '.join(JOBS)}")
    if not 0 <= index < len(hosts.get(job, [])):
        raise UserError(f"{VARIABLE}: the task is {job} {index}, and there are {len(hosts.get(job, []))} of that type")
    every = [host for name in JOBS for host in hosts.get(name, [])]
    for host in every:
        _address(host)
    if len(set(every)) < len(every):
        raise UserError(f"{VARIABLE} names {max(every, key=every.count)} twice; every process has a port of its own")
    return Cluster(tuple(every), index + (len(hosts.get("chief", [])) if job == "worker" else 0))


def _address(host: Any) -> tuple[str, int]:
    name, _, port = str(host).rpartition(":")
    if not name or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise UserError(f"{VARIABLE}: {host!r} is no address; expected name:port, such as host0:2222")
    return name.strip("[]"), int(port)


def wait_for_cluster(cluster: Cluster, seconds: float) -> None:
    """Returns in every process once all are there. Raises UserError, in all that are, when `seconds` are over."""
    end = time.monotonic() + seconds
    if len(cluster.hosts) == 1:
        return
    if cluster.index == 0:
        _gather(cluster, end, seconds)
    else:
        with _listener(cluster.hosts[cluster.index]):
            pass  # TensorFlow will want this port, and would wait for ever if it is taken
        _report(cluster, end, seconds)


def _gather(cluster: Cluster, end: float, seconds: float) -> None:
    """The chief's part: waits for a greeting of each, then lets them go."""
    connections: dict[int, socket.socket] = {}
    with _listener(cluster.hosts[0]) as listener, contextlib.ExitStack() as stack:
        while len(connections) < len(cluster.hosts) - 1 and (left := end - time.monotonic()) > 0:
            listener.settimeout(left)
            with contextlib.suppress(OSError, ValueError):
                connection = stack.enter_context(listener.accept()[0])
                connection.settimeout(min(left, 5.0))
                name, index, count = _read_line(connection).split()
                if name == GREETING and int(count) == len(cluster.hosts) and 0 < int(index) < int(count):
                    connections[int(index)] = connection
        missing = [host for number, host in enumerate(cluster.hosts) if number and number not in connections]
        for connection in connections.values():
            with contextlib.suppress(OSError):
                connection.sendall(f"{', '.join(missing) or GO}\n".encode())
    if missing:
        raise UserError(_no_answer(", ".join(missing), seconds))


def _report(cluster: Cluster, end: float, seconds: float) -> None:
    """The others' part: greets the chief until it answers, then waits for its word."""
    answer = ""
    while not answer and time.monotonic() < end:
        with contextlib.suppress(OSError):
            with socket.create_connection(_address(cluster.hosts[0]), max(end - time.monotonic(), 0.1)) as connection:
                connection.sendall(f"{GREETING} {cluster.index} {len(cluster.hosts)}\n".encode())
                # The chief's own limit may have begun later; its word tells more than silence.
                connection.settimeout(max(end - time.monotonic(), 0.1) + 2.0)
                answer = _read_line(connection)
        if not answer:
            time.sleep(RETRY_SECONDS)
    if answer != GO:
        raise UserError(_no_answer(answer or f"{cluster.hosts[0]} (the chief)", seconds))


def _no_answer(who: str, seconds: float) -> str:
    return (f"{VARIABLE}: no answer from {who} within {seconds:g} s; start the same command there, or raise "
            f"--connect_seconds")  # fmt: skip


@contextlib.contextmanager
def _listener(host: str) -> Iterator[socket.socket]:
    port = _address(host)[1]
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            listener.bind(("", port))
        except OSError as error:
            raise UserError(f"{VARIABLE}: port {port} of this machine cannot be opened: {error.strerror}") from error
        listener.listen()
        yield listener


def _read_line(connection: socket.socket) -> str:
    """Up to a newline or the end of the connection."""
    data = b""
    while not data.endswith(b"\n") and len(data) < 1 << 16:
        block = connection.recv(4096)
        if not block:
            break
        data += block
    return data.decode(errors="replace").strip()
