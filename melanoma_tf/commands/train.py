"""train the folds of a recipe, predict out-of-fold and test images

The same command continues a run that was cut. Data: train*.tfrec (and test*.tfrec) in --data_dir or its tfrecords/
folder, with train.csv, test.csv and folds.csv beside them unless other flags say where they are."""

from __future__ import annotations

import sys

from absl import flags


def define_flags(flag_values: flags.FlagValues) -> None:
    text = lambda name, default, help: flags.DEFINE_string(name, default, help, flag_values=flag_values)  # noqa: E731
    text("config", "b0_256", "recipe in melanoma_tf/configs/")
    text("data_dir", None, "folder with the shards")
    text("work_dir", None, "folder of this run: weights, predictions, history")
    text("train_csv", "", "table of the training images; DATA_DIR/train.csv if empty")
    text("test_csv", "", "table of the test images; DATA_DIR/test.csv if there is one")
    text("folds", "", "fold file of melanoma-tf folds; DATA_DIR/folds.csv if empty")
    text("fold", "", "folds to train, such as 0,2; all: every image, none held out; every fold if empty")
    text("strategy", "auto", "auto, one, mirrored, multi_worker or tpu")
    text("tpu", "local", "name or address of the TPU")
    flags.DEFINE_multi_string(
        "set", [], "setting=value of the recipe, such as train.epochs=12", flag_values=flag_values
    )
    flags.DEFINE_boolean("overwrite", False, "start anew in a work folder that has a run", flag_values=flag_values)
    flags.mark_flags_as_required(["data_dir", "work_dir"], flag_values=flag_values)


def main(flag_values: flags.FlagValues) -> None:
    from melanoma_tf import command_line
    from melanoma_tf import config as configuration

    config = configuration.override(configuration.load_recipe(flag_values.config), flag_values.set)
    command_line.import_tensorflow_quietly()
    from melanoma_tf import distribute
    from melanoma_tf.train import train

    distribute.make_deterministic()
    strategy = distribute.make_strategy(flag_values.strategy, flag_values.tpu)
    train(
        config, data_dir=flag_values.data_dir, work_dir=flag_values.work_dir, train_csv=flag_values.train_csv,
        test_csv=flag_values.test_csv, folds_csv=flag_values.folds, fold=flag_values.fold, strategy=strategy,
        overwrite=flag_values.overwrite, command=" ".join(["melanoma-tf", *sys.argv[1:]]),
    )  # fmt: skip
    print(f"run finished: {flag_values.work_dir}")
