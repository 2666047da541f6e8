"""The whole records of damaged shards, copied into a new folder; the lost ones are named.

  tfrecord-tools salvage --data_dir=shards --out=salvaged

Writes whole shards with their counts in their names, train.csv without the rows that have no record, and
train.salvage.csv with shard, record, offset, image name and reason of every loss (exit code 3 if there is one).
A shard without damage is copied bit for bit, and the source stays as it is.
"""

from __future__ import annotations

from melanoma_tf import errors
from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, text_flag
from tfrecord_tools.salvage import salvage

SHOWN = 20


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "data_dir", None, "folder with *.tfrec", required=True)
    text_flag(flag_values, "out", None, "folder for the whole shards, new or empty", required=True)
    text_flag(flag_values, "prefix", None, "only this set, such as train; without, all sets")
    integer_flag(flag_values, "workers", 0, "processes; 0 uses all cores")
    boolean_flag(flag_values, "overwrite", "--out may hold files; those of the same sets are deleted first")


def main(flag_values: CommandFlags) -> int:
    sets = salvage(
        flag_values.data_dir, flag_values.out, prefix=flag_values.prefix, workers=flag_values.workers,
        overwrite=flag_values.overwrite,
    )  # fmt: skip
    for salvaged in sets:
        for lost in salvaged.lost[:SHOWN]:
            print(lost.line())
        if len(salvaged.lost) > SHOWN:
            print(f"... and {len(salvaged.lost) - SHOWN} more")
        print(salvaged.line())
    return errors.EXIT_REJECTS if any(salvaged.lost for salvaged in sets) else errors.EXIT_DONE
