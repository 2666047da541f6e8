"""Processes that work through a list, with results in order and a bounded number of them in memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, TypeVar

from melanoma_tf.errors import UserError

Result = TypeVar("Result")
OrderedMap = Callable[[Callable[..., Result], Iterable[Any]], Iterator[Result]]
# Called with an argument over which a worker died, and a function that tries again in a process of its own and gives
# None where that dies too.
Apart = Callable[[Any, Callable[[Any], Any]], Any]


def worker_count(workers: int) -> int:
    """`workers`, where 0 means every core that this process may use."""
    if workers < 0:
        raise UserError(f"--workers is {workers}; it must be 0 (all cores) or more")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return workers or available


@contextlib.contextmanager
def ordered_workers(workers: int, apart: Apart | None = None) -> Iterator[OrderedMap]:
    """A lazy `map(function, arguments)` over processes that yields in the order of the arguments.

    At most two results per worker wait, so memory does not grow with the list. One worker means this process. Started
    by spawn: a fork of a process with threads (a notebook, TensorFlow) may hang.

    Args: apart: what to do where a worker dies; the others go on in new processes.
    Raises: UserError when a worker dies and `apart` is None; that is nearly always a lack of memory.
    """
    if workers == 1:
        yield map
        return
    pool = _Pool(workers, apart)
    try:
        yield pool.map
    except BrokenProcessPool as error:
        raise UserError("a worker process died, likely for want of memory; run again with fewer --workers") from error
    finally:
        pool.executor.shutdown(wait=True, cancel_futures=True)


class _Pool:
    """An executor that is replaced when one of its processes dies."""

    def __init__(self, workers: int, apart: Apart | None):
        self.workers, self.apart = workers, apart
        self.executor = _make_executor(workers)

    def map(self, function: Callable, arguments: Iterable) -> Iterator:
        pending: deque[tuple[Any, Future]] = deque()
        for argument in arguments:
            pending.append((argument, self._submit(function, argument)))
            if len(pending) > 2 * self.workers:
                yield self._first(function, pending)
        while pending:
            yield self._first(function, pending)

    def _submit(self, function: Callable, argument: Any) -> Future:
        try:
            return self.executor.submit(function, argument)
        except BrokenProcessPool as error:  # found out here or when the first result is asked for, whichever is sooner
            failed: Future = Future()
            failed.set_exception(error)
            return failed

    def _first(self, function: Callable, pending: deque[tuple[Any, Future]]) -> Any:
        argument, future = pending.popleft()
        try:
            return future.result()
        except BrokenProcessPool:
            if self.apart is None:
                raise
        # Nobody knows whose fault it was: the first that waits is tried by itself, the others in a new pool.
        self.executor.shutdown(wait=True, cancel_futures=True)
        result = self.apart(argument, partial(_run_alone, function))
        self.executor = _make_executor(self.workers)
        for number, (waiting, done) in enumerate(pending):
            if not done.done() or done.cancelled() or done.exception():
                pending[number] = waiting, self._submit(function, waiting)
        return result


def _make_executor(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)


def _run_alone(function: Callable, argument: Any) -> Any:
    with _make_executor(1) as executor:
        try:
            return executor.submit(function, argument).result()
        except BrokenProcessPool:
            return None


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent alone decides
    # Decoders in C write complaints of their own, some of which quote the file; what went wrong comes back as a result.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A killed parent cannot tell its workers to stop, and their queue never ends by itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
