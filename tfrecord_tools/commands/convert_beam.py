"""As convert, by the workers of an Apache Beam runner (needs the extra beam); the bytes are the same.

  tfrecord-tools convert_beam --images=gs://bucket/jpeg --csv=train.csv --out=gs://bucket/shards --beam=--runner=...

Without a runner it is Beam's own one for this machine, FnApiRunner. The same command again continues.
"""

from __future__ import annotations

from functools import partial

from melanoma_tf.command_line import CommandFlags, repeated_flag
from tfrecord_tools.commands import convert


def define_flags(flag_values: CommandFlags) -> None:
    convert.define_flags(flag_values)
    flag_values.remove_flag_values(("workers",))  # that is Beam's to decide
    repeated_flag(flag_values, "beam", "an argument of Beam, such as --beam=--runner=DataflowRunner")


def main(flag_values: CommandFlags) -> int:
    from tfrecord_tools.beam import convert_with_beam  # an extra

    return convert.run(flag_values, partial(convert_with_beam, pipeline_arguments=flag_values.beam))
