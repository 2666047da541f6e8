"""Makes folds in which no patient and no known duplicate straddles, as even as they can be.

Even in images, melanoma, patients, their images, and source and site where the table has them; by how much they are
not is printed. Writes a CSV (image_name, fold) and beside it a JSON with its SHA-256, so that a later change is
noticed.
"""

from __future__ import annotations

from pathlib import Path

from melanoma_tf import files, fold_counts, folds, tables
from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, list_flag, text_flag
from melanoma_tf.errors import UserError


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "train_csv", None, "table with image_name, patient_id and target", required=True)
    text_flag(flag_values, "out", None, "CSV to write, such as folds.csv", required=True)
    list_flag(
        flag_values, "duplicates", "CSVs of duplicate pairs (image_name_1, image_name_2), official or of audit --pairs"
    )
    integer_flag(flag_values, "folds", 5, "number of folds", lower_bound=2)
    integer_flag(flag_values, "seed", 2020, "another one gives another assignment, equally even", lower_bound=0)
    boolean_flag(flag_values, "overwrite", "replace an existing file")


def main(flag_values: CommandFlags) -> None:
    path = Path(flag_values.out)
    sidecar = folds.sidecar_of(path) if path.name else path
    if sidecar == path:
        raise UserError(f"--out={flag_values.out}: folds are a CSV, such as folds.csv; a .json comes beside it")
    for path in (flag_values.out, sidecar):
        files.refuse_overwrite(path, flag_values.overwrite)
    table = tables.read_table(flag_values.train_csv, target=True)
    duplicates = [pair for path in flag_values.duplicates or () for pair in folds.read_duplicates(path)]
    fold = folds.make_folds(table, flag_values.folds, flag_values.seed, duplicates)
    files.make_folder(Path(flag_values.out).parent)
    folds.write_folds(flag_values.out, table, fold, flag_values.seed)
    share = "{:.3%}".format
    print(folds.count_folds(table, fold).to_string(index=False, formatters={"share": share}))
    print(f"\n{fold_counts.describe(fold_counts.unevenness(table, fold))}\n")
    if flag_values.duplicates:
        known = set(table["image_name"])
        used = sum(known.issuperset(pair) for pair in duplicates)
        print(f"{used:,} of {len(duplicates):,} pairs of duplicates have both images in the table")
    print(f"wrote {flag_values.out}")
