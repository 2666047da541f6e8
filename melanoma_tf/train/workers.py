"""The processes of one run on several machines: the first is the chief, writes the run's folder and decides.

Every decision that the others must share goes through here, at the same place of the program in each, so that they
keep step. With one process all of it does nothing.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from melanoma_tf import files
from melanoma_tf.errors import Interrupted, UserError

PART_WORDS = 1 << 22
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


class Workers:
    """The processes of `strategy`. Attributes: count; chief: whether this one is the first."""

    def __init__(self, strategy: tf.distribute.Strategy | None = None):
        resolver: Any = getattr(strategy, "cluster_resolver", None)
        several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        spec = resolver.cluster_spec().as_dict() if several else {}
        self.count = max(sum(len(hosts) for job, hosts in spec.items() if job in ("chief", "worker")), 1)
        task = (resolver.task_type, resolver.task_id or 0) if several else ("worker", 0)
        self.chief = task == ("chief", 0) or ("chief" not in spec and task == ("worker", 0))
        self._strategy: Any = strategy
        self._reduce: Callable[[tf.Tensor], tf.Tensor] | None = None

    def sums(self, values: list[int]) -> list[int]:
        """The sum over the processes of each number."""
        if self.count == 1:
            return values
        return [round(float(value)) for value in self._sum(np.array(values))]

    def any(self, *flags: bool) -> list[bool]:
        """For each flag whether it is true in some process."""
        return [bool(value) for value in self.sums([int(flag) for flag in flags])]

    def share(self, value: Any) -> Any:
        """The chief's value, of what JSON can hold, in every process."""
        if self.count == 1:
            return value
        return json.loads(self._share_bytes(json.dumps(value).encode()))

    def share_file(self, path: Path) -> None:
        """Makes the file what it is in the chief: with the same bytes, or absent."""
        if self.count == 1:
            return
        if not self.share(path.exists()):
            path.unlink(missing_ok=True)
            return
        data = self._share_bytes(path.read_bytes() if self.chief else b"")
        if not self.chief:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_whole(path, data)

    def share_folder(self, folder: Path) -> None:
        """Gives every process the files that the chief has under `folder`."""
        names = [str(path.relative_to(folder)) for path in sorted(folder.glob("**/*")) if path.is_file()]
        for name in self.share(names) if self.count > 1 else ():
            self.share_file(folder / name)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Within it an error of one process ends all, where the others would wait for it until TensorFlow gives up."""
        error: Exception | None = None
        try:
            yield
        except (UserError, Interrupted) as caught:
            error = caught
        failed = self.sums([int(error is not None)])[0] if self.count > 1 else 0
        if error is not None:
            raise error
        if failed:
            raise UserError(f"{failed} of {self.count} processes cannot go on; the reason is in their own output")

    @contextlib.contextmanager
    def folder(self, work_dir: Path) -> Iterator[Path]:
        """Where this process writes: the run's folder in the chief, elsewhere a temporary one."""
        if self.chief:
            yield work_dir
            return
        with tempfile.TemporaryDirectory(prefix="melanoma-tf-worker-") as name:
            yield Path(name) / work_dir.name

    @contextlib.contextmanager
    def lost_are_named(self) -> Iterator[None]:
        """Within it TensorFlow's errors about a process that went away become one line."""
        try:
            yield
        except LOST as error:
            if self.count == 1:
                raise
            raise UserError(f"another of the {self.count} processes went away ({type(error).__name__}); the same "
                            f"command, in all of them, continues from the last checkpoint") from error  # fmt: skip

    def _share_bytes(self, data: bytes) -> bytes:
        size = int(self._share_words(np.array([len(data)], np.int64).view(np.uint16)).view(np.int64)[0])
        padded = np.zeros(-(-size // 2) * 2, np.uint8)
        if self.chief:
            padded[:size] = np.frombuffer(data, np.uint8)
        words = padded.view(np.uint16)
        parts = [self._share_words(words[at : at + PART_WORDS]) for at in range(0, len(words), PART_WORDS)]
        return b"".join(part.tobytes() for part in parts)[:size]

    def _share_words(self, words: np.ndarray) -> np.ndarray:
        """uint16[n] of the chief: the others add zeros. float32 holds them exactly, and every device can sum it."""
        return self._sum(words * np.uint16(self.chief)).astype(np.uint16)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """float32[n], the sum over the processes."""
        if self._reduce is None:
            self._reduce = _build_sum(self._strategy, self._strategy.num_replicas_in_sync // self.count)
        return self._reduce(tf.constant(values, tf.float32)).numpy()


def _build_sum(strategy: tf.distribute.Strategy, replicas: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Compiled sum over processes that have several replicas each, of which the first speaks."""

    def own(values):
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.where(tf.equal(number % replicas, 0), values, tf.zeros_like(values))

    @tf.function
    def total(values):
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(own, args=(values,)), axis=None)

    return total
