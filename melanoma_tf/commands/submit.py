"""Writes predictions as a submission, and checks what it wrote.

With --solution it also tells the exact AUC of the submission, with an interval.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from melanoma_tf import files, metrics, submission, tables
from melanoma_tf.command_line import CommandFlags, boolean_flag, text_flag
from melanoma_tf.predictions import Predictions, read_predictions


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "predictions", None, "CSV of predictions, such as RUN/test.csv", required=True)
    text_flag(flag_values, "out", None, "CSV to write, such as submission.csv", required=True)
    text_flag(flag_values, "sample", None, "the challenge's sample_submission.csv: gives columns and order")
    text_flag(flag_values, "solution", None, "table with the true target, to score against")
    text_flag(flag_values, "test_csv", None, "table with patient_id, for an interval that knows of patients")
    boolean_flag(flag_values, "overwrite", "replace an existing file")


def main(flag_values: CommandFlags) -> None:
    files.refuse_overwrite(flag_values.out, flag_values.overwrite)
    predictions = read_predictions(flag_values.predictions)
    sample = tables.read_csv(flag_values.sample) if flag_values.sample else submission.blank_sample(predictions)
    text = submission.make_submission(predictions, sample)
    auc = _auc(predictions, flag_values) if flag_values.solution else None
    files.make_folder(Path(flag_values.out).parent)
    files.write_whole(flag_values.out, text)
    checked = submission.check_submission(flag_values.out, sample)
    print(f"wrote {flag_values.out}: {len(checked):,} rows, checked")
    if auc:
        print(f"AUC {auc}")


def _auc(predictions: Predictions, flag_values: CommandFlags) -> metrics.Interval:
    solution = tables.read_table(flag_values.solution, target=True)
    predictions = predictions.aligned(solution["image_name"].to_numpy(object), str(flag_values.predictions))
    patients = _rows(predictions, flag_values.test_csv) if flag_values.test_csv else solution
    metrics.require_two_classes(solution["target"].to_numpy(), str(flag_values.solution))
    return metrics.auc_interval(
        solution["target"].to_numpy(), predictions.probability, patients["patient_id"].to_numpy()
    )


def _rows(predictions: Predictions, test_csv: str) -> pd.DataFrame:
    return tables.rows_of(predictions.image_name, tables.read_table(test_csv, target=False), test_csv)
