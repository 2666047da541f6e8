"""Where a fold stands: model, optimizer, position, history, best weights; a rerun goes on from there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from melanoma_tf import config as configuration
from melanoma_tf import files
from melanoma_tf.config import Config
from melanoma_tf.errors import UserError
from melanoma_tf.keras_compat import KERAS_VERSION, keras
from melanoma_tf.train.workers import Workers

KEPT = 2
MANIFEST, HISTORY, BEST, PREFIX = "manifest.json", "history.json", "best.weights.h5", "state"
PART = ".part"
# Settings that decide nothing about the result (but for rounding: predict.batch_size), so that a rerun may change them.
PACE = (
    "train.checkpoint_minutes", "train.steps_per_call", "data.cache", "data.cache_memory_mb", "data.cache_dir",
    "predict.batch_size",
)  # fmt: skip
READ_BYTES = 16 << 20
FORMAT = 1


class Checkpoint:
    """Saves and restores one fold. The last two states are kept; a state is whole or is not there.

    A state is a folder `000012` of `folder`: TensorFlow's files, the history, the best weights so far (a hard link, no
    room taken) and, written last, a manifest with their SHA-256. It gets its name by one rename when all of it is on
    the disk.

    Attributes: epoch, step: int variables, the next epoch and the next step within it; loss_sum: float64 variable, the
    sum of the losses of the steps behind it in this epoch; seconds: float64 variable, time spent in this epoch;
    history: one dict for each epoch that is done.

    Args: folder; model, optimizer; identity: what must be the same when a state is read, see `identity_of`; best: file
      of the best weights, which may be absent; say: shows a line; workers: who else saves at the same time; more:
      trackable objects that belong to the state.
    """

    def __init__(
        self, folder: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer, identity: dict[str, Any],
        best: Path, say: Callable[[str], None] = print, workers: Workers | None = None, **more: Any,
    ):  # fmt: skip
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False, name="epoch")
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.loss_sum = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="loss_sum")
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="seconds")
        self.history: list[dict] = []
        self._folder, self._model, self._identity, self._best, self._say = folder, model, identity, best, say
        self._workers = workers or Workers()
        self._checkpoint = tf.train.Checkpoint(
            model=model,
            optimizer=optimizer,
            epoch=self.epoch,
            step=self.step,
            loss_sum=self.loss_sum,
            seconds=self.seconds,
            **more,
        )

    def restore(self) -> bool:
        """Goes to the last state that is whole; False where there is none yet.

        Raises: UserError for states of another model, recipe, fold or TensorFlow, or where none of several is whole.
        """
        self._workers.share_folder(self._folder)
        states = _states(self._folder)
        for state in reversed(states):
            fault = fault_of(state)
            if fault is None:
                self._read(state)
                return True
            self._say(f"checkpoint {state} is not used: {fault}")
        if states:
            raise UserError(f"no checkpoint of {self._folder} is whole; --overwrite starts the run anew")
        return False

    def _read(self, state: Path) -> None:
        known = json.loads((state / MANIFEST).read_text())["identity"]
        for what, value in self._identity.items():
            if known.get(what) != value:
                raise UserError(
                    f"checkpoint {state} is of another {what}: {known.get(what)}, not {value}; "
                    f"go on with that one, or choose another --work_dir or --overwrite"
                )
        try:
            self._checkpoint.read(str(state / PREFIX)).assert_existing_objects_matched()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise UserError(
                f"checkpoint {state} does not fit this model ({' '.join(str(error).split())[:200]}); choose another "
                f"--work_dir or --overwrite"
            ) from error
        self.history = json.loads((state / HISTORY).read_text())
        # The file beside may be of a later epoch that is to be trained again.
        if (state / BEST).exists():
            _link_whole(state / BEST, self._best)
        else:
            self._best.unlink(missing_ok=True)

    def save(self) -> None:
        """Writes the state. Raises UserError when the disk is full or the weights are no numbers; the former states
        stay as they are."""
        self._require_finite()
        part = self._folder / f"{_last_number(self._folder) + 1:06d}{PART}"
        with self._workers.together(), _errors_named(self._folder, part):
            _remove_parts(self._folder)
            part.mkdir(parents=True)
        with self._workers.together(), _errors_named(self._folder, part):
            self._write(part)
            part.rename(part.with_suffix(""))
            _sync(self._folder)
        for old in _states(self._folder)[:-KEPT]:
            old.rename(old.with_suffix(PART))  # so that a kill leaves no half state under a state's name
            shutil.rmtree(old.with_suffix(PART), ignore_errors=True)

    def _write(self, part: Path) -> None:
        self._checkpoint.write(str(part / PREFIX))
        (part / HISTORY).write_text(json.dumps(self.history))
        if self._best.exists():
            _link(self._best, part / BEST)
        sums = {path.name: _sha256(path) for path in sorted(part.iterdir())}
        manifest = {"format": FORMAT, "identity": self._identity, "epoch": int(self.epoch), "step": int(self.step)}
        (part / MANIFEST).write_text(json.dumps(manifest | {"sha256": sums}, indent=2) + "\n")
        for path in (*part.iterdir(), part):
            _sync(path)

    def _require_finite(self) -> None:
        """A loss is that of the weights before its step, so the last step may have spoilt them unseen."""
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(weight)))
                                for weight in self._model.trainable_variables])  # fmt: skip
        if not bool(finite):
            raise UserError(f"weights became NaN or infinite at epoch {int(self.epoch) + 1}, step {int(self.step)}; "
                            f"the last good ones are in {self._folder}; try a smaller train.learning_rate"
                            )  # fmt: skip


def identity_of(config: Config, fold: str, model: keras.Model) -> dict[str, Any]:
    """What a state is a state of."""
    decisive = {key: value for key, value in configuration.flatten(config).items() if key not in PACE}
    shapes = [[list(map(int, weight.shape)), tf.as_dtype(weight.dtype).name] for weight in model.variables]
    return {
        "TensorFlow": tf.__version__,
        "Keras": KERAS_VERSION,
        "recipe": files.sha256(json.dumps(decisive).encode())[:16],
        "fold": fold,
        "model": f"{model.count_params():,} weights, "
                 f"{files.sha256(json.dumps(shapes).encode())[:16]}",
    }  # fmt: skip


@contextlib.contextmanager
def _errors_named(folder: Path, part: Path) -> Iterator[None]:
    """Within it what goes wrong while writing becomes a UserError, and nothing half-written stays."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise UserError(f"cannot save a checkpoint in {folder}: {reason}; what was saved before is kept, and the same "
                        f"command continues from there") from error  # fmt: skip


def _last_number(folder: Path) -> int:
    states = _states(folder)
    return int(states[-1].name) if states else 0


def _states(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path for path in folder.glob("[0-9]" * 6) if path.is_dir())


def fault_of(state: Path) -> str | None:
    """Why a state cannot be used, or None."""
    try:
        manifest = json.loads((state / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            return f"its format is {manifest['format']}, that of another version"
        if not manifest["sha256"]:
            return f"{MANIFEST} lists no file"
        for name, expected in manifest["sha256"].items():
            if _sha256(state / name) != expected:
                return f"{name} is cut or altered"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} or a file that it lists is absent or no longer readable ({type(error).__name__})"
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _remove_parts(folder: Path) -> None:
    """Of a process that was killed while it wrote."""
    for part in folder.glob(f"*{PART}"):
        shutil.rmtree(part, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _link_whole(source: Path, target: Path) -> None:
    """`_link` over a file that may be there; it is never half there."""
    with contextlib.suppress(OSError):
        if os.path.samefile(source, target):
            return
    beside = target.with_name(f".{target.name}.{os.getpid()}{PART}")
    beside.unlink(missing_ok=True)
    _link(source, beside)
    os.replace(beside, target)


def _sync(path: Path) -> None:
    """Onto the disk: a file's bytes, a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
