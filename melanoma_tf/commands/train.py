"""Trains the folds of a recipe; predicts out-of-fold and test images.

The same command continues a run that was cut. Data: train*.tfrec (and test*.tfrec) in --data_dir or its tfrecords/
folder, with train.csv, test.csv and folds.csv beside them unless other flags say where they are.
"""

from __future__ import annotations

import sys

from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, number_flag, repeated_flag, text_flag


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "data_dir", None, "folder with the shards", required=True)
    text_flag(flag_values, "work_dir", None, "folder of this run: weights, predictions, history", required=True)
    text_flag(flag_values, "config", "b0_256", "recipe in melanoma_tf/configs/")
    repeated_flag(flag_values, "set", "setting=value of the recipe, such as train.epochs=12")
    text_flag(flag_values, "train_csv", "", "table of the training images; without, DATA_DIR/train.csv")
    text_flag(flag_values, "test_csv", "", "table of the test images; without, DATA_DIR/test.csv if there is one")
    text_flag(flag_values, "folds", "", "fold file of melanoma-tf folds; without, DATA_DIR/folds.csv")
    text_flag(flag_values, "fold", "", "folds to train, such as 0,2; all: no image held out; without, each fold")
    text_flag(flag_values, "cache", "", "auto, memory, disk or none: where decoded images are kept; short for "
              "--set data.cache")  # fmt: skip
    boolean_flag(flag_values, "salvage", "lose damaged records instead of refusing their shard; short for "
                 "--set data.salvage=true")  # fmt: skip
    text_flag(flag_values, "strategy", "auto", "auto, one, mirrored, multi_worker or tpu")
    text_flag(flag_values, "tpu", "local", "name or address of the TPU")
    number_flag(flag_values, "connect_seconds", 60.0, "how long to wait for the other machines of TF_CONFIG",
                lower_bound=0.0)  # fmt: skip
    integer_flag(flag_values, "cpu_devices", 1, "show the processor as so many devices, to try out --strategy=mirrored",
                 lower_bound=1)  # fmt: skip
    number_flag(flag_values, "max_hours", 0.0, "save and stop (exit 75) so that the command ends within this time; "
                "0: no limit", lower_bound=0.0)  # fmt: skip
    boolean_flag(flag_values, "dry_run", "tell parameters, memory, steps and time, and write nothing")
    boolean_flag(flag_values, "overwrite", "start anew in a work folder that has a run")


def main(flag_values: CommandFlags) -> None:
    from melanoma_tf import command_line
    from melanoma_tf import config as configuration

    short = [f"data.cache={flag_values.cache}"] if flag_values.cache else []
    short += ["data.salvage=true"] if flag_values.salvage else []
    config = configuration.override(configuration.load_recipe(flag_values.config), [*flag_values.set, *short])
    command_line.import_tensorflow_quietly()
    from melanoma_tf import distribute
    from melanoma_tf.train import train

    distribute.make_deterministic()
    if flag_values.cpu_devices > 1:
        distribute.split_cpu(flag_values.cpu_devices)
    strategy = distribute.make_strategy(flag_values.strategy, flag_values.tpu, flag_values.connect_seconds)
    train(
        config, data_dir=flag_values.data_dir, work_dir=flag_values.work_dir, train_csv=flag_values.train_csv,
        test_csv=flag_values.test_csv, folds_csv=flag_values.folds, fold=flag_values.fold, strategy=strategy,
        overwrite=flag_values.overwrite, command=" ".join(["melanoma-tf", *sys.argv[1:]]),
        max_hours=flag_values.max_hours, dry_run=flag_values.dry_run,
    )  # fmt: skip
    if not flag_values.dry_run:
        print(f"run finished: {flag_values.work_dir}")
