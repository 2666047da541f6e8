"""predict a set of images with the models of a run

Each image gets the mean over the run's folds and the recipe's test-time views."""

from __future__ import annotations

import os

from absl import flags


def define_flags(flag_values: flags.FlagValues) -> None:
    text = lambda name, default, help: flags.DEFINE_string(name, default, help, flag_values=flag_values)  # noqa: E731
    text("run", None, "work folder of a finished melanoma-tf train")
    text("data_dir", None, "folder with the shards")
    text("prefix", "test", "which shards: PREFIX*.tfrec")
    text("csv", "", "table of the images; DATA_DIR/PREFIX.csv if empty")
    text("out", None, "CSV to write")
    text("strategy", "auto", "auto, one, mirrored, multi_worker or tpu")
    text("tpu", "local", "name or address of the TPU")
    flags.DEFINE_integer("views", 0, "test-time views, 1, 2, 4 or 8; those of the recipe if 0", flag_values=flag_values)
    flags.DEFINE_boolean("overwrite", False, "replace --out if it exists", flag_values=flag_values)
    flags.mark_flags_as_required(["run", "data_dir", "out"], flag_values=flag_values)


def main(flag_values: flags.FlagValues) -> None:
    from melanoma_tf import command_line, errors

    if os.path.exists(flag_values.out) and not flag_values.overwrite:
        raise errors.UserError(f"{flag_values.out} exists; choose another --out or --overwrite")
    if flag_values.views not in (0, 1, 2, 4, 8):
        raise errors.UserError(f"--views={flag_values.views}; valid: 1, 2, 4, 8 (0: those of the recipe)")
    command_line.import_tensorflow_quietly()
    from melanoma_tf import distribute
    from melanoma_tf.data.image_set import load_image_set
    from melanoma_tf.predict import predict

    distribute.make_deterministic()
    csv = flag_values.csv or os.path.join(flag_values.data_dir, f"{flag_values.prefix}.csv")
    images = load_image_set(flag_values.data_dir, csv, flag_values.prefix, target=False)
    strategy = distribute.make_strategy(flag_values.strategy, flag_values.tpu)
    predictions = predict(flag_values.run, images, views=flag_values.views, strategy=strategy)
    predictions.write(flag_values.out)
    print(f"wrote {flag_values.out}: {len(predictions):,} images")
