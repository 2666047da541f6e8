"""Is a folder of shards whole: checksums, counts, hashes, every JPEG, names and targets against the CSV beside.

  tfrecord-tools verify --data_dir=shards

One line a problem, naming file, record and offset, and exit code 2; otherwise one line.
"""

from __future__ import annotations

from absl import flags

from melanoma_tf import errors
from tfrecord_tools.verify import verify


def define_flags(flag_values: flags.FlagValues) -> None:
    flags.DEFINE_string("data_dir", None, "folder with *.tfrec", required=True, flag_values=flag_values)
    flags.DEFINE_integer("workers", 0, "processes; 0 uses all cores", flag_values=flag_values)


def main(flag_values: flags.FlagValues) -> int:
    report = verify(flag_values.data_dir, workers=flag_values.workers)
    for problem in report.problems:
        print(problem)
    print(report.line())
    return errors.EXIT_USER if report.problems else errors.EXIT_DONE
