"""Processes that work through chunks of a list, with results in order and a bounded number of them in memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from melanoma_tf.errors import UserError

Result = TypeVar("Result")
OrderedMap = Callable[[Callable[..., Result], Iterable[Any]], Iterator[Result]]


def worker_count(workers: int) -> int:
    """`workers`, where 0 means every core that this process may use."""
    if workers < 0:
        raise UserError(f"--workers is {workers}; it must be 0 (all cores) or more")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return workers or available


@contextlib.contextmanager
def ordered_workers(workers: int) -> Iterator[OrderedMap]:
    """A lazy `map(function, arguments)` over processes that yields in the order of the arguments.

    At most two results per worker wait, so memory does not grow with the list. One worker means this process. Started
    by spawn: a fork of a process with threads (a notebook, TensorFlow) may hang.

    Raises: UserError when a worker dies, which is nearly always a lack of memory.
    """
    if workers == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        yield lambda function, arguments: _ordered(executor, function, arguments, 2 * workers)
    except BrokenProcessPool as error:
        raise UserError("a worker process died, likely for want of memory; run again with fewer --workers") from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _ordered(executor: ProcessPoolExecutor, function: Callable, arguments: Iterable, window: int) -> Iterator:
    pending: deque = deque()
    for argument in arguments:
        pending.append(executor.submit(function, argument))
        if len(pending) > window:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent alone decides
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A killed parent cannot tell its workers to stop, and their queue never ends by itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
