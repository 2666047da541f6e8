"""Writes one self-contained HTML page about a run: how good, how sure, on whom, and how it was made.

A RUN is a run folder, the folder of a blend or a context, or a CSV of out-of-fold predictions. The first is the
subject, others are compared with it. --grad_cam shows where the models of a training run looked.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from melanoma_tf import command_line, files, report, tables
from melanoma_tf.command_line import CommandFlags, boolean_flag, list_flag, text_flag
from melanoma_tf.data import shards
from melanoma_tf.errors import UserError

DEFAULT_NAME = "report.html"
SHOWN_FLAGS = ("train_csv", "table", "data_dir", "grad_cam")  # of the command on the page; where it lies may change


def define_flags(flag_values: CommandFlags) -> None:
    list_flag(
        flag_values, "runs", "what to report on, separated by commas or without --runs= by blanks; the first is the "
        "subject", required=True, positional=True,
    )  # fmt: skip
    text_flag(flag_values, "train_csv", None, "table of the training; without, the one that the first run was made of")
    text_flag(flag_values, "table", None, "another name of --train_csv")
    text_flag(flag_values, "data_dir", None, "folder with train*.tfrec, for pictures of hits and misses")
    boolean_flag(flag_values, "grad_cam", "show where the models looked; needs --data_dir, a training run, TensorFlow")
    text_flag(flag_values, "out", None, f"HTML to write; without, RUN/{DEFAULT_NAME}, which may always be replaced")
    boolean_flag(flag_values, "overwrite", "replace an existing --out")


def main(flag_values: CommandFlags) -> None:
    out = _out(flag_values)
    table_path = _table_path(flag_values)
    table = tables.read_table(table_path, target=True)
    runs = [report.read_run(path, table) for path in flag_values.runs]
    names = _examples(runs[0], table) if flag_values.data_dir else []
    pictures = shards.read_images(shards.list_shards(flag_values.data_dir, "train"), names) if names else {}
    heat_maps = _heat_maps(flag_values, runs[0], table_path, names) if flag_values.grad_cam else {}
    page = report.build_report(runs, table, pictures, heat_maps, _command(flag_values))
    files.make_folder(out.parent)
    files.write_whole(out, page)
    print(f"wrote {out} ({len(page.encode()) / 1e6:.2f} MB)")


def _out(flag_values: CommandFlags) -> Path:
    subject = Path(flag_values.runs[0])
    if not flag_values.out and subject.is_file():
        raise UserError(f"--out is needed for the file {subject}, such as --out={subject.with_suffix('.html').name}")
    out = Path(flag_values.out or subject / DEFAULT_NAME)
    files.refuse_overwrite(out, flag_values.overwrite or not flag_values.out)
    return out


def _table_path(flag_values: CommandFlags) -> str:
    if flag_values.table and flag_values.train_csv:
        raise UserError("--table and --train_csv are two names of the same table; give one of them")
    given = flag_values.table or flag_values.train_csv
    return given or report.table_of_run(flag_values.runs[0])


def _examples(run: report.Run, table: pd.DataFrame) -> list[str]:
    """Names of the hits and misses; shards are read only as far as they are needed."""
    if run.oof is None:
        return []
    evaluation = report.evaluate(run.oof, table, run.name)
    names = evaluation.rows["image_name"].to_numpy(object)
    return sorted({str(names[row]) for examples in report.choose_examples(evaluation) for row in examples.rows})


def _heat_maps(
    flag_values: CommandFlags, run: report.Run, table_path: str, names: Iterable[str]
) -> dict[str, report.HeatMap]:
    if not flag_values.data_dir:
        raise UserError("--grad_cam needs --data_dir, the folder with the images that the models are to look at")
    if not run.record or run.oof is None or run.oof.fold is None:
        raise UserError(f"--grad_cam needs a training run with its weights; {flag_values.runs[0]} is none with folds")
    command_line.import_tensorflow_quietly()
    from melanoma_tf.grad_cam import grad_cam_of_run

    fold_of = dict(zip(run.oof.image_name, run.oof.fold.tolist()))
    wanted = {name: fold_of[name] for name in names}
    return grad_cam_of_run(flag_values.runs[0], wanted, flag_values.data_dir, table_path)


def _command(flag_values: CommandFlags) -> str:
    given = {name: flag_values[name].value for name in SHOWN_FLAGS}
    told = [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items() if value]
    return "melanoma-tf report " + " ".join(shlex.quote(str(word)) for word in (*flag_values.runs, *told))
