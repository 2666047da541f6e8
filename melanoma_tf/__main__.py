"""`python -m melanoma_tf` and the console script `melanoma-tf`."""

import sys

from melanoma_tf import command_line

COMMANDS = {
    name: f"melanoma_tf.commands.{name}"
    for name in (
        "demo",
        "folds",
        "audit",
        "show_augment",
        "bench_input",
        "find_rate",
        "train",
        "predict",
        "blend",
        "context",
        "metrics",
        "calibrate",
        "compare",
        "submit",
        "report",
    )
}


def main() -> int:
    summary = "melanoma-tf: the probability of melanoma, from shards to a checked submission"
    return command_line.run("melanoma-tf", summary, COMMANDS, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
