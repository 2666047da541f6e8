"""Makes folds in which no patient and no known duplicate straddles.

Writes a CSV (image_name, fold) and beside it a JSON with its SHA-256, so that a later change is noticed.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from melanoma_tf import files, folds, tables


def define_flags(flag_values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "train_csv", None, "Table with image_name, patient_id and target.", flag_values=flag_values, required=True
    )
    flags.DEFINE_string(
        "duplicates", None, "CSV of duplicate pairs: image_name_1, image_name_2.", flag_values=flag_values
    )
    flags.DEFINE_integer("folds", 5, "Number of folds.", lower_bound=2, flag_values=flag_values)
    flags.DEFINE_integer("seed", 2020, "Seed of the shuffle.", lower_bound=0, flag_values=flag_values)
    flags.DEFINE_string("out", None, "CSV to write, such as folds.csv.", flag_values=flag_values, required=True)
    flags.DEFINE_boolean("overwrite", False, "Replace an existing file.", flag_values=flag_values)


def main(flag_values: flags.FlagValues) -> None:
    files.refuse_overwrite(flag_values.out, flag_values.overwrite)
    table = tables.read_table(flag_values.train_csv, target=True)
    duplicates = folds.read_duplicates(flag_values.duplicates) if flag_values.duplicates else []
    fold = folds.make_folds(table, flag_values.folds, flag_values.seed, duplicates)
    files.make_folder(Path(flag_values.out).parent)
    folds.write_folds(flag_values.out, table, fold, flag_values.seed)
    share = "{:.3%}".format
    print(folds.count_folds(table, fold).to_string(index=False, formatters={"share": share}))
    print(f"wrote {flag_values.out}")
