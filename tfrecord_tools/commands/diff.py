"""Two folders of shards compared by image name: pictures by PSNR, fields, order.

  tfrecord-tools diff --a=shards --b=other [--ignore=width,height]

Exit code 0 when they agree: the same names, equal fields, and pictures that are equal or reach --min_psnr. Otherwise
2, with one line for each kind of difference. The order is told, and does not count.
"""

from __future__ import annotations

import json

from absl import flags

from melanoma_tf import errors
from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, list_flag, text_flag
from tfrecord_tools.diff import DEFAULT_MIN_PSNR, diff


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "a", None, "folder with *.tfrec", required=True)
    text_flag(flag_values, "b", None, "the other folder", required=True)
    text_flag(flag_values, "prefix", None, "only this set, such as train; without, all records of the folders")
    list_flag(flag_values, "ignore", "fields that may differ, such as width,height across dialects")
    flags.DEFINE_float("min_psnr", DEFAULT_MIN_PSNR, "dB that unequal pictures must reach", flag_values=flag_values)
    integer_flag(flag_values, "workers", 0, "processes; 0 uses all cores")
    boolean_flag(flag_values, "json", "print JSON, with every name")


def main(flag_values: CommandFlags) -> int:
    report = diff(
        flag_values.a, flag_values.b, prefix=flag_values.prefix, ignore=flag_values.ignore or (),
        min_psnr=flag_values.min_psnr, workers=flag_values.workers,
    )  # fmt: skip
    differences = report.differences()
    if flag_values.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        print("\n".join([*report.summary(), *differences, "the sets differ" if differences else "the sets agree"]))
    return errors.EXIT_USER if differences else errors.EXIT_DONE
