"""`python -m tfrecord_tools` and the console script `tfrecord-tools`."""

import sys

from melanoma_tf import command_line

COMMANDS = {
    name: f"tfrecord_tools.commands.{name}"
    for name in ("convert", "convert_beam", "inspect", "verify", "salvage", "diff")
}


def main() -> int:
    summary = "tfrecord-tools: photographs and a CSV to TFRecord shards; what is in a shard; is it whole"
    return command_line.run("tfrecord-tools", summary, COMMANDS, sys.argv[1:])


if __name__ == "__main__":  # worker processes import this module under another name
    sys.exit(main())
