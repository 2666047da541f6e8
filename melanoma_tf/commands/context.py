"""Improves each image's score by what is known of the patient and of the patient's other images.

Fitted on out-of-fold predictions, cross-fitted by patient and compared with the input. Writes oof.csv (each image
judged by a model that saw no image of its patient), test.csv where --test is given, and context.json. The number of
images of a patient and the image size are never used in what is written: they tell how the set was collected, and
--shortcuts shows by how much.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from melanoma_tf import files, tables
from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, text_flag
from melanoma_tf.errors import UserError
from melanoma_tf.metrics import Interval, require_two_classes
from melanoma_tf.paired import Difference
from melanoma_tf.predictions import Predictions, read_predictions

WRITTEN = ("oof.csv", "test.csv", "context.json")
INPUTS = ("oof", "table", "test", "test_csv", "embeddings", "test_embeddings")
LABELS = {
    "input": "input", "single": "each image alone", "scores": "with the others' scores",
    "context": "with the other images",
}  # fmt: skip


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "oof", None, "out-of-fold predictions of the training images", required=True)
    text_flag(flag_values, "table", None, "their table: image_name, patient_id, sex, age, site", required=True)
    text_flag(flag_values, "out", None, "folder to write", required=True)
    text_flag(flag_values, "test", None, "predictions of test images, to be judged too")
    text_flag(flag_values, "test_csv", None, "the table of the test images")
    text_flag(flag_values, "embeddings", None, ".npz with names and float[N,D] of the training images, out-of-fold")
    text_flag(flag_values, "test_embeddings", None, "the same of the test images")
    boolean_flag(flag_values, "single", "judge each image without the patient's other images")
    boolean_flag(
        flag_values, "shortcuts", "show what image count and size would add; they are never in what is written"
    )
    boolean_flag(
        flag_values, "extremes", "add the highest of the other images and the like, which tell how many there are"
    )
    integer_flag(flag_values, "folds", 5, "patient folds of the cross-fitting", lower_bound=2)
    integer_flag(flag_values, "repeats", 0, "further seeds of the folds, for a mean over them", lower_bound=0)
    boolean_flag(flag_values, "json", "print context.json and no sentences")
    boolean_flag(flag_values, "overwrite", "replace existing files")


def main(flag_values: CommandFlags) -> None:
    from melanoma_tf.context import ContextSettings
    from melanoma_tf.context.features import add_embeddings
    from melanoma_tf.context.study import study_context

    out = Path(flag_values.out)
    files.refuse_run(out)
    for name in WRITTEN:
        files.refuse_overwrite(out / name, flag_values.overwrite)
    if bool(flag_values.test) != bool(flag_values.test_csv):
        raise UserError("--test and --test_csv belong together: predictions of test images, and the images' table")
    _require_fitting_embeddings(flag_values)
    names, images = read_images(flag_values.oof, flag_values.table)
    test = read_scored(flag_values.test, flag_values.test_csv) if flag_values.test else None
    if flag_values.embeddings:
        images = dataclasses.replace(images, table=add_embeddings(images.table, flag_values.embeddings))
        if test is not None:
            test = (test[0], add_embeddings(test[1], flag_values.test_embeddings))
    settings = ContextSettings(flag_values.single, flag_values.extremes, embeddings=bool(flag_values.embeddings))
    study = study_context(
        images, settings, flag_values.folds, repeats=flag_values.repeats, shortcuts=flag_values.shortcuts
    )
    written = {"oof.csv": Predictions(names, study.scores, images.target, study.fold)}
    if test is not None:
        judged = study.model.judge(test[0].probability, test[1])
        written["test.csv"] = Predictions(test[0].image_name, judged, test[0].target)
    record = {"inputs": _hashes(flag_values), **study.record}
    _write(files.make_folder(out), written, record)
    print(json.dumps(record, indent=2) if flag_values.json else "\n".join(sentences(record)))
    if not flag_values.json:
        print(f"wrote {', '.join(str(out / name) for name in (*written, 'context.json'))}")


def _require_fitting_embeddings(flag_values: CommandFlags) -> None:
    if flag_values.embeddings and flag_values.single:
        raise UserError("--embeddings compares an image with the patient's others, and --single leaves them out")
    if bool(flag_values.test_embeddings) != bool(flag_values.embeddings and flag_values.test):
        raise UserError("--test_embeddings belongs to --embeddings and --test: give all three or none for the test")


def read_scored(path: str, table: str):
    """Predictions and their rows of the table. Raises UserError for no patient_id, or an image the table lacks."""
    predictions = read_predictions(path)
    tables.require_columns(tables.read_csv(table), ("image_name", "patient_id"), table)
    return predictions, tables.rows_of(predictions.image_name, tables.read_table(table, target=False), path)


def read_images(oof: str, table: str):
    """Image names, and `Images` with the truth of the predictions, or of the table where they have none.

    Raises: UserError as `read_scored`, where there is no truth, where both have another one, or for one class only.
    """
    from melanoma_tf.context.study import Images

    predictions, rows = read_scored(oof, table)
    truths = [] if predictions.target is None else [predictions.target]
    if "target" in rows:
        known = tables.read_table(table, target=True)
        truths.append(tables.rows_of(predictions.image_name, known, oof)["target"].to_numpy())
    if not truths:
        raise UserError(f"{oof} has no truth beside its predictions, and {table} has no column 'target'; one is needed")
    differs = truths[0] != truths[-1]
    if differs.any():
        raise UserError(f"target of {predictions.image_name[differs][0]} differs between {oof} and {table}")
    require_two_classes(truths[0], oof)
    return predictions.image_name, Images(predictions.probability, rows, truths[0].astype(np.int64))


def _hashes(flag_values: CommandFlags) -> dict:
    given = {name: flag_values[name].value for name in INPUTS}
    paths = {name: path for name, path in given.items() if path is not None}
    return {name: {"path": path, "sha256": files.sha256(_content(path))} for name, path in paths.items()}


def _content(path: str) -> bytes:
    with files.open_read(path) as file:
        return file.read()


def _write(out: Path, written: dict[str, Predictions], record: dict) -> None:
    for name in WRITTEN[:2]:
        if name in written:
            written[name].write(out / name)
        else:  # an earlier command's would pass for a part of this one
            (out / name).unlink(missing_ok=True)
    files.write_json(out / "context.json", record)


def sentences(record: dict) -> list[str]:
    """The record for a person, line by line."""
    labelled = [(LABELS[name], Interval(**auc)) for name, auc in record["auc"].items()]
    labelled.insert(1, ("apparent (fitted on itself)", Interval(**record["apparent"])))
    lines = [f"{label:<28}{value}" for label, value in labelled]
    lines.append(f"{'difference to the input':<28}{Difference(**record['difference'])}")
    if "context" in record["auc"]:
        lines.append(f"{'of it by the other images':<28}{Difference(**record['difference_of_companions'])}")
    if record["difference_of_embeddings"]:
        lines.append(f"{'of it by the embeddings':<28}{Difference(**record['difference_of_embeddings'])}")
    lines += ["", *_size_lines(record), "", *_count_lines(record)]
    lines += _repeat_lines(record["repeats"])
    return lines + _shortcut_lines(record["shortcuts"])


def _size_lines(record: dict) -> list[str]:
    names = list(record["auc"])
    lines = [
        "AUC by the patient's number of images",
        "images  n       melanoma  " + "  ".join(map("{:<7}".format, names)),
    ]
    for row in record["by_size"]:
        aucs = ["-" if row[name] is None else f"{row[name]:.4f}" for name in names]
        cells = "  ".join(map("{:<7}".format, aucs))
        lines.append(f"{row['images_of_patient']:<6}  {row['images']:<6,}  {row['melanoma']:<8}  {cells}".rstrip())
    return lines


def _count_lines(record: dict) -> list[str]:
    matched = ", ".join(f"{name} {value:.4f}" for name, value in record["matched"].items())
    told = ", ".join(f"{name} {value:.2f}" for name, value in record["count_told"].items())
    return [
        f"AUC between patients with equally many images (within 10 %): {matched}",
        f"how well the features tell the number of images (Spearman, cross-fitted): {told}",
    ]


def _repeat_lines(repeats: list[dict]) -> list[str]:
    if not repeats:
        return []
    means = {name: np.mean([repeat[name] for repeat in repeats]) for name in ("single", "context", "matched")}
    found = ", ".join(f"{repeat['context']:.4f}" for repeat in repeats)
    return [f"over {len(repeats)} further seeds of the folds: {means['context']:.4f} on average ({found}); "
            f"each image alone {means['single']:.4f}; equally many images {means['matched']:.4f}"]  # fmt: skip


def _shortcut_lines(shortcuts: dict | None) -> list[str]:
    if shortcuts is None:
        return []
    alone = ", ".join(f"{name} (AUC alone {auc:.2f})" for name, auc in shortcuts["alone"].items())
    return [
        "",
        f"WARNING, not written: with {alone}, which tell how this set was collected, not what a lesion is:",
        f"{'with shortcuts':<28}{Interval(**shortcuts['auc'])}",
        f"{'difference to without':<28}{Difference(**shortcuts['difference'])}",
        f"AUC between patients with equally many images: {shortcuts['matched']:.4f}",
    ]
