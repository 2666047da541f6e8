"""Which devices do the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from melanoma_tf.errors import UserError, nearest


def _tpu(address: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError, RuntimeError, OSError) as error:
        raise UserError(f"no TPU at {address!r}: {str(error).splitlines()[0]}") from error
    return tf.distribute.TPUStrategy(resolver)


def _mirrored(_: str) -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


STRATEGIES = {
    "one": lambda _: tf.distribute.get_strategy(),
    "mirrored": _mirrored,
    "multi_worker": lambda _: tf.distribute.MultiWorkerMirroredStrategy(),
    "tpu": _tpu,
}


def make_strategy(name: str = "auto", tpu: str = "local") -> tf.distribute.Strategy:
    """A strategy by name, or by what the machine has: a TPU, several GPUs, one device.

    Args:
      name: `auto` or a key of `STRATEGIES`. tpu: `local` on a TPU VM, else a TPU's name or address.
    Raises: UserError for an unknown name or a TPU that does not answer.
    """
    if name == "auto":
        name = _what_the_machine_has()
    if name not in STRATEGIES:
        raise UserError(f"--strategy={name}: {nearest(name, ['auto', *STRATEGIES])}")
    return STRATEGIES[name](tpu)


def _what_the_machine_has() -> str:
    if tf.config.list_physical_devices("TPU"):
        return "tpu"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one"


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
