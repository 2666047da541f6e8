"""Writes one self-contained HTML page about a run: how good, how sure, on whom, and how it was made.

The first of --runs is the subject, others are compared with it; the folder of a blend counts as a run.
"""

from __future__ import annotations

from pathlib import Path

from melanoma_tf import files, report, tables
from melanoma_tf.command_line import CommandFlags, boolean_flag, list_flag, text_flag
from melanoma_tf.data import shards

DEFAULT_NAME = "report.html"


def define_flags(flag_values: CommandFlags) -> None:
    list_flag(flag_values, "runs", "run folders, separated by commas; the first is the subject", required=True)
    text_flag(flag_values, "train_csv", None, "table of the training", required=True)
    text_flag(flag_values, "data_dir", None, "folder with train*.tfrec, for pictures of hits and misses")
    text_flag(flag_values, "out", None, f"HTML to write; without, RUN/{DEFAULT_NAME}, which may always be replaced")
    boolean_flag(flag_values, "overwrite", "replace an existing --out")


def main(flag_values: CommandFlags) -> None:
    out = Path(flag_values.out or Path(flag_values.runs[0]) / DEFAULT_NAME)
    files.refuse_overwrite(out, flag_values.overwrite or flag_values.out is None)
    runs = [report.read_run(path) for path in flag_values.runs]
    table = tables.read_table(flag_values.train_csv, target=True)
    pictures = _read_pictures(runs[0], table, flag_values.data_dir) if flag_values.data_dir else {}
    page = report.build_report(runs, table, pictures)
    files.make_folder(out.parent)
    files.write_whole(out, page)
    print(f"wrote {out} ({len(page.encode()) / 1e6:.2f} MB)")


def _read_pictures(run: report.Run, table, data_dir: str) -> dict[str, bytes]:
    """JPEG bytes of the hits and misses; shards are read only as far as they are needed."""
    paths = shards.list_shards(data_dir, "train")
    if run.oof is None:
        return {}
    evaluation = report.evaluate(run.oof, table, run.name)
    names = evaluation.rows["image_name"].to_numpy(object)
    wanted = {str(names[row]) for examples in report.choose_examples(evaluation) for row in examples.rows}
    return shards.read_images(paths, wanted)
