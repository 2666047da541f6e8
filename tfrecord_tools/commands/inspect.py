"""What is in a folder of shards: dialect, records, classes, patients, sizes; also as a page with pictures.

  tfrecord-tools inspect --data_dir=shards --html=shards.html

Patients and diagnoses come from the codes of re-made records, or from train.csv or test.csv beside the shards.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from melanoma_tf import files
from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, text_flag
from melanoma_tf.errors import UserError
from tfrecord_tools import inspection
from tfrecord_tools.inspection_page import build_page


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "data_dir", None, "folder with *.tfrec", required=True)
    boolean_flag(flag_values, "json", "print JSON, with fields and every size")
    text_flag(flag_values, "html", None, "also write one page with the tables and some pictures of every set")
    integer_flag(flag_values, "seed", 0, "chooses the pictures of the page")
    boolean_flag(flag_values, "overwrite", "replace an existing --html")


def main(flag_values: CommandFlags) -> None:
    page = flag_values.html
    if page and os.path.lexists(page) and not flag_values.overwrite:
        raise UserError(f"{page} exists already; give --overwrite to replace it or another --html")
    sets = inspection.inspect(flag_values.data_dir)
    if page:
        content = build_page(str(flag_values.data_dir), sets, flag_values.seed)
        files.make_folder(Path(page).parent)
        files.write_whole(page, content)
    if flag_values.json:
        print(json.dumps([inspection.as_json(contents) for contents in sets], indent=2))
    else:
        print(inspection.as_text(sets))
