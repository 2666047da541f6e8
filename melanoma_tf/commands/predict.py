"""Predicts a set of images with the models of a run.

Each image gets the mean over the run's folds and the recipe's test-time views. --embeddings writes the pooled features
of the networks instead of, or beside, --out: for `melanoma-tf context` and `audit`.
"""

from __future__ import annotations

import os
from pathlib import Path

from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, text_flag


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "run", None, "work folder of a finished melanoma-tf train", required=True)
    text_flag(flag_values, "data_dir", None, "folder with the shards", required=True)
    text_flag(flag_values, "out", None, "CSV to write")
    text_flag(flag_values, "embeddings", None, ".npz to write: names, and float32[N,D] by one model each")
    text_flag(flag_values, "fold", "", "whose model embeds; without, the fold that held the image out (--prefix=train)")
    text_flag(flag_values, "prefix", "test", "which shards: PREFIX*.tfrec")
    text_flag(flag_values, "csv", "", "table of the images; without, DATA_DIR/PREFIX.csv")
    integer_flag(flag_values, "views", 0, "test-time views, of the recipe's kind; 0: as many as in the recipe")
    boolean_flag(flag_values, "salvage", "lose damaged records instead of refusing their shard")
    text_flag(flag_values, "strategy", "auto", "auto, one, mirrored, multi_worker or tpu")
    text_flag(flag_values, "tpu", "local", "name or address of the TPU")
    boolean_flag(flag_values, "overwrite", "replace an existing --out")


def main(flag_values: CommandFlags) -> None:
    from melanoma_tf import command_line, errors, files

    if flag_values.out and os.path.exists(flag_values.out) and not flag_values.overwrite:
        raise errors.UserError(f"{flag_values.out} exists; choose another --out or --overwrite")
    if not (flag_values.out or flag_values.embeddings):
        raise errors.UserError("nothing to write; give --out=FILE.csv for predictions or --embeddings=FILE.npz")
    if flag_values.fold and not flag_values.embeddings:
        raise errors.UserError("--fold says whose model embeds; it belongs to --embeddings")
    if flag_values.embeddings:
        files.refuse_overwrite(flag_values.embeddings, flag_values.overwrite, "--embeddings")
    command_line.import_tensorflow_quietly()
    from melanoma_tf import distribute
    from melanoma_tf.data.image_set import load_image_set
    from melanoma_tf.embed import embed, rows_by_folder
    from melanoma_tf.embeddings import write_embeddings
    from melanoma_tf.predict import predict
    from melanoma_tf.train.workers import Workers

    distribute.make_deterministic()
    csv = flag_values.csv or os.path.join(flag_values.data_dir, f"{flag_values.prefix}.csv")
    images = load_image_set(flag_values.data_dir, csv, flag_values.prefix, target=False, salvage=flag_values.salvage)
    strategy = distribute.make_strategy(flag_values.strategy, flag_values.tpu)
    chief = Workers(strategy).chief
    for path in filter(None, (flag_values.out, flag_values.embeddings)):
        files.make_folder(Path(path).parent)
    if flag_values.embeddings:
        rows_by_folder(flag_values.run, images, flag_values.fold)  # what cannot be done is told before the work
    if flag_values.out:
        predictions = predict(flag_values.run, images, views=flag_values.views, strategy=strategy)
        if chief:
            predictions.write(flag_values.out)
            print(f"wrote {flag_values.out}: {len(predictions):,} images")
    if flag_values.embeddings and chief:
        embedded = embed(flag_values.run, images, flag_values.fold)
        write_embeddings(flag_values.embeddings, *embedded)
        count, width = embedded[1].shape
        print(f"wrote {flag_values.embeddings}: {count:,} of {len(images):,} images, {width:,} features each")
