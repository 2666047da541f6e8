"""Looks for leaks, contradictions and shortcuts in the data; exit code 2 on a leak.

Patients and duplicates over folds, train and test; near duplicates among the images (resized, compressed again, cut to
a square, turned or mirrored); images of the test set in external sets; metadata that contradict themselves; what tells
the label without a look at the lesion. Whatever is not given is told as not checked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from melanoma_tf import errors, files, folds, schema, tables
from melanoma_tf.command_line import CommandFlags, boolean_flag, list_flag, text_flag
from melanoma_tf.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from melanoma_tf.audit import Audited
    from melanoma_tf.audit.pool import Tables
    from melanoma_tf.audit.sketches import Named, Seen


INPUTS = ("train_csv", "test_csv", "folds", "duplicates", "external", "images", "data_dir", "embeddings")


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "train_csv", None, "table with image_name, patient_id and target", required=True)
    text_flag(flag_values, "test_csv", None, "table of the test images")
    text_flag(flag_values, "folds", None, "CSV with image_name and fold (or tfrecord)")
    list_flag(flag_values, "duplicates", "CSVs of known duplicate pairs: image_name_1, image_name_2")
    list_flag(flag_values, "external", "tables of further sets that are trained on")
    list_flag(flag_values, "images", "folders with JPEG or PNG files of any of the tables")
    list_flag(flag_values, "data_dir", "folders with *.tfrec of any of the tables, in place of --images")
    text_flag(flag_values, "embeddings", None, ".npz with names, text[N], and float[N,D], of any network")
    text_flag(flag_values, "json", None, "JSON to write, with all that is printed and more examples")
    text_flag(flag_values, "pairs", None, "CSV to write, with the near duplicates: for folds --duplicates")
    boolean_flag(flag_values, "overwrite", "replace existing files")


def main(flag_values: CommandFlags) -> int:
    from melanoma_tf import audit, fold_counts
    from melanoma_tf.audit import printing

    wanted = {"--json": flag_values.json, "--pairs": flag_values.pairs}
    written = [path for path in wanted.values() if path]
    for flag, path in wanted.items():
        if path:
            files.refuse_overwrite(path, flag_values.overwrite, flag)
    if flag_values.pairs and not (flag_values.images or flag_values.data_dir):
        raise UserError("--pairs needs images to find them among: give --images or --data_dir")
    given = _read_tables(flag_values)
    known = None
    if flag_values.duplicates:
        known = [pair for path in flag_values.duplicates for pair in folds.read_duplicates(path)]
    embeddings = _read_embeddings(flag_values.embeddings, given) if flag_values.embeddings else None
    audited = audit.audit(given, known, _look(flag_values, given), embeddings)
    _write(flag_values, audited)
    counts = fold_counts.count_columns(given.train).sum()
    print(f"{flag_values.train_csv}: {counts['images']:,} images of {counts['patients']:,} patients, "
          f"{counts.get('melanoma', 0):,} melanoma\n")  # fmt: skip
    print(printing.describe(audited.findings, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    for path in written:
        print(f"wrote {path}")
    return errors.EXIT_USER if _leaks(audited) else errors.EXIT_DONE


def _leaks(audited: Audited) -> int:
    from melanoma_tf.audit import LEAK

    return sum(finding.verdict == LEAK for finding in audited.findings)


def _read_tables(flag_values: CommandFlags) -> Tables:
    from melanoma_tf.audit.pool import Tables

    train = tables.read_table(flag_values.train_csv, target=True)
    test = tables.read_table(flag_values.test_csv, target=False) if flag_values.test_csv else None
    fold = folds.read_folds(flag_values.folds, train) if flag_values.folds else None
    paths = flag_values.external or ()
    names = [os.path.basename(path) for path in paths]
    labels = names if len(set(names)) == len(names) else paths
    external = {label: tables.read_table(path, target=False) for label, path in zip(labels, paths)}
    return Tables(train, fold, test, external)


def _read_embeddings(path: str, given: Tables) -> tuple[list[str], np.ndarray]:
    """Those of images of the tables. Raises UserError where there is none."""
    from melanoma_tf.embeddings import read_embeddings

    names, embeddings = read_embeddings(path)
    wanted = _image_names(given)
    rows = [row for row, name in enumerate(names) if name in wanted]
    if not rows:
        raise UserError(f"{path} holds no image of the tables; it holds {', '.join(names[:3]) or 'nothing'}")
    return [names[row] for row in rows], embeddings[rows]


def _image_names(given: Tables) -> set[str]:
    return {name for _, _, table in given.parts() for name in table["image_name"]}


def _look(flag_values: CommandFlags, given: Tables) -> Seen | None:
    from melanoma_tf.audit import sketches

    if flag_values.images and flag_values.data_dir:
        raise UserError("--images and --data_dir are two ways to the same images; give one of them")
    wanted = _image_names(given)
    if flag_values.images:
        return sketches.look(sketches.folder_images(flag_values.images, wanted), len(wanted))
    if flag_values.data_dir:
        return sketches.look(_shard_images(flag_values.data_dir, wanted), len(wanted))
    return None


def _shard_images(data_dirs: list[str], wanted: set[str]) -> Iterator[Named]:
    """Images of shards, of the names that are wanted. Raises UserError for damage, or a folder with none of them."""
    from melanoma_tf.audit import sketches
    from melanoma_tf.data import shards

    for data_dir in data_dirs:
        found = False
        for path in shards.list_shards(data_dir, ""):
            for offset, data in shards.read_records(path):
                try:
                    record = schema.decode_record(data)
                except ValueError as error:
                    raise UserError(f"{path}: the record at byte {offset} is no melanoma record: {error}") from error
                if record[schema.IMAGE_NAME] in wanted:
                    found = True
                    size = sketches.original_size(record["fields"])
                    yield record[schema.IMAGE_NAME], record[schema.IMAGE], size
        if not found:
            raise UserError(f"the shards of --data_dir={data_dir} hold no image of the tables")


def _write(flag_values: CommandFlags, audited: Audited) -> None:
    import pandas as pd

    if flag_values.json:
        files.make_folder(Path(flag_values.json).parent)
        inputs = {name: flag_values[name].value for name in INPUTS if flag_values[name].value}
        findings = [finding.as_json() for finding in audited.findings]
        files.write_json(flag_values.json, {"inputs": inputs, "leaks": _leaks(audited), "findings": findings})
    if flag_values.pairs:
        files.make_folder(Path(flag_values.pairs).parent)
        table = pd.DataFrame(audited.pairs, columns=["image_name_1", "image_name_2", "correlation"])
        files.write_whole(flag_values.pairs, table.to_csv(index=False, lineterminator="\n"))
