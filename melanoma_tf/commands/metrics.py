"""Every metric of a file of predictions, each with an interval over patients.

ROC AUC, the partial AUC of the ISIC 2024 challenge, average precision, sensitivity at fixed specificity and the other
way round, log loss, Brier score and calibration error. A patient's images are one cluster in every interval.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from melanoma_tf import evaluation, files
from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, text_flag
from melanoma_tf.commands.known_images import hashes, read_known_images


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "predictions", None, "CSV of predictions, such as RUN/oof.csv", required=True)
    text_flag(flag_values, "table", None, "the images' table: image_name, patient_id, target", required=True)
    text_flag(flag_values, "json", None, "JSON file to write beside the printed table")
    integer_flag(flag_values, "replicates", 2000, "draws of patients for the intervals", lower_bound=2)
    boolean_flag(flag_values, "overwrite", "replace an existing --json")


def main(flag_values: CommandFlags) -> None:
    if flag_values.json:
        files.refuse_overwrite(flag_values.json, flag_values.overwrite, "--json")
    images = read_known_images(flag_values.predictions, flag_values.table)
    table = evaluation.metrics_table(
        images.target, images.probability, images.patients, replicates=flag_values.replicates,
        what=flag_values.predictions,
    )  # fmt: skip
    first = table["roc_auc"]
    print(f"{flag_values.predictions}: {first.images:,} images, {first.positives:,} melanoma, "
          f"{first.clusters:,} patients")  # fmt: skip
    width = max(len(evaluation.METRICS[name].label) for name in table)
    print(f"{'':<{width}}  value   95 % over patients")
    for name, one in table.items():
        print(f"{evaluation.METRICS[name].label:<{width}}  {one.value:.4f}  [{one.low:.4f}, {one.high:.4f}]")
    for note in images.notes:
        print(f"note: {note}")
    if flag_values.json:
        record = {
            "inputs": hashes({"predictions": flag_values.predictions, "table": flag_values.table}),
            "replicates": flag_values.replicates,
            "metrics": {name: dataclasses.asdict(interval) for name, interval in table.items()},
            "notes": images.notes,
        }
        files.make_folder(Path(flag_values.json).parent)
        files.write_json(flag_values.json, record)
        print(f"wrote {flag_values.json}")
