"""Is a folder of shards whole: checksums, counts, hashes, every JPEG, names and targets by the CSV beside.

  tfrecord-tools verify --data_dir=shards

One line a problem, naming file, record and offset, and exit code 2; otherwise one line.
"""

from __future__ import annotations

import json

from melanoma_tf import errors
from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, text_flag
from tfrecord_tools.verify import verify


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "data_dir", None, "folder with *.tfrec", required=True)
    integer_flag(flag_values, "workers", 0, "processes; 0 uses all cores")
    boolean_flag(flag_values, "json", "print JSON, with file, record, offset and image of every problem")


def main(flag_values: CommandFlags) -> int:
    report = verify(flag_values.data_dir, workers=flag_values.workers)
    if flag_values.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        print("\n".join([*(problem.line() for problem in report.problems), report.line()]))
    return errors.EXIT_USER if report.problems else errors.EXIT_DONE
