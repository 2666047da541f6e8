"""Which devices do the work."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from melanoma_tf import cluster
from melanoma_tf.errors import UserError, nearest


class Where(NamedTuple):
    """tpu: `local` on a TPU VM, else a TPU's name or address. connect_seconds: how long to wait for other machines."""

    tpu: str = "local"
    connect_seconds: float = 60.0


def _tpu(where: Where) -> tf.distribute.Strategy:
    if where.tpu == "local" and not tf.config.list_physical_devices("TPU"):
        raise UserError("--strategy=tpu: this machine has no TPU; give --tpu=NAME for another's, or --strategy=auto")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=where.tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, ImportError, tf.errors.OpError, RuntimeError, OSError) as error:
        raise UserError(f"no TPU at {where.tpu!r}: {' '.join(str(error).split())[:200]}") from error
    return tf.distribute.TPUStrategy(resolver)


def _mirrored(_: Where) -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker(where: Where) -> tf.distribute.Strategy:
    text = os.environ.get(cluster.VARIABLE, "")
    if not text:
        raise UserError(f"--strategy=multi_worker needs {cluster.VARIABLE}, such as {cluster.EXAMPLE}")
    cluster.wait_for_cluster(cluster.read_cluster(text), where.connect_seconds)
    return tf.distribute.MultiWorkerMirroredStrategy()


STRATEGIES: dict[str, Callable[[Where], tf.distribute.Strategy]] = {
    "one": lambda _: tf.distribute.get_strategy(),
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}


def make_strategy(name: str = "auto", tpu: str = "local", connect_seconds: float = 60.0) -> tf.distribute.Strategy:
    """A strategy by name, or by what there is: other machines in `TF_CONFIG`, a TPU, several GPUs, one device.

    Several machines must be asked for before the first op.

    Args:
      name: `auto` or a key of `STRATEGIES`. tpu: `local` on a TPU VM, else a TPU's name or address. connect_seconds:
        how long to wait for the other machines of `TF_CONFIG`.
    Raises: UserError for an unknown name, a TPU or a machine that does not answer, or a `TF_CONFIG` that is none.
    """
    if name == "auto":
        name = _what_there_is()
    if name not in STRATEGIES:
        raise UserError(f"--strategy={name}: {nearest(name, ['auto', *STRATEGIES])}")
    return STRATEGIES[name](Where(tpu, connect_seconds))


def _what_there_is() -> str:
    text = os.environ.get(cluster.VARIABLE, "")
    if text and len(cluster.read_cluster(text).hosts) > 1:
        return "multi_worker"
    if tf.config.list_physical_devices("TPU"):
        return "tpu"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one"


def split_cpu(count: int) -> None:
    """Shows the processor as `count` devices, to try out what several do. Must come before the first op.

    Raises: UserError where TensorFlow has started already.
    """
    try:
        devices = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    except RuntimeError as error:
        raise UserError(f"--cpu_devices={count} must come before TensorFlow starts") from error


def make_deterministic() -> None:
    """The same command gives the same bits: fixes the order of sums within ops. Must come before the first op."""
    tf.config.experimental.enable_op_determinism()


def on_each_replica(variables: Sequence[tf.Variable], change: Callable, *values: Sequence) -> None:
    """`change(variable, *values)` for each variable, on every replica's own copy and without communication.

    To be called within `strategy.run`, where all replicas know the same `values`: lists as long as `variables`, of
    tensors or variables.
    """

    def merged(strategy, *columns):
        for variable, *own in zip(variables, *columns):
            strategy.extended.update(variable, change, args=tuple(own), group=False)

    tf.distribute.get_replica_context().merge_call(merged, args=values)


def average_over_replicas(variables: Sequence[tf.Variable]) -> None:
    """Gives every replica's copy the mean of all copies. To be called within `strategy.run`, by all replicas."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync > 1 and variables:
        # Copies, since a variable's own read says no device, which the all-reduce of several processes asks for.
        means = context.all_reduce(tf.distribute.ReduceOp.MEAN, [tf.identity(one) for one in variables])
        for variable, mean in zip(variables, means):
            variable.assign(mean)
