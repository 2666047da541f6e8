"""Photographs (DICOM, JPEG, PNG) and a CSV to TFRecord shards; the same command again continues.

  tfrecord-tools convert --images=jpeg/train --csv=train.csv --out=shards --size=512

Writes train00-2071.tfrec and so on, train.csv, train.rejects.csv where images could not be used (exit code 3),
train.notes.csv where cells are odd, and train.manifest.json last. A second call with the test set may share the folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from melanoma_tf import errors, schema
from melanoma_tf.command_line import CommandFlags, boolean_flag, choice_flag, integer_flag, text_flag
from tfrecord_tools.convert import convert
from tfrecord_tools.images import FITS
from tfrecord_tools.job import Summary
from tfrecord_tools.settings import PREFIXES, Settings, read_salt

NONE = -1  # of whole numbers that may be left out


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "images", None, "folder or zip with image_name + .jpg, .jpeg, .dcm or .png, or a text file "
              "with one path a line", required=True)  # fmt: skip
    text_flag(flag_values, "csv", None, "table with image_name, and target for a train set", required=True)
    text_flag(flag_values, "out", None, "folder for the shards", required=True)
    integer_flag(flag_values, "size", 1024, "side of the square in pixels; 0 keeps originals (a JPEG bit for bit)")
    choice_flag(flag_values, "fit", "crop", FITS, "crop: short side to size, then the centre; squash: both sides to "
                "size; pad: long side to size, black around")  # fmt: skip
    integer_flag(flag_values, "quality", 95, "of the JPEG, 1-100; from 90 on with full chroma (4:4:4)")
    integer_flag(flag_values, "shards", 16, "number of shards")
    boolean_flag(flag_values, "group_by_patient", "keep a patient in one shard; images, melanoma and patients balanced")
    choice_flag(flag_values, "dialect", "ours", schema.DIALECTS, "fields of the records: ours (with original size), "
                "official, or remade (integer codes for patient, sex, age, site, diagnosis)")  # fmt: skip
    choice_flag(flag_values, "prefix", None, PREFIXES, "name of the set; without, train when the table has a target")
    integer_flag(flag_values, "frame", NONE, "of DICOM files with several frames the one to take, from 0; -1: refuse")
    boolean_flag(flag_values, "allow_burned_in", "take DICOM files that say that text is burned into the picture")
    text_flag(flag_values, "salt_file", None, "file with a secret; patient ids are hashed with it")
    integer_flag(flag_values, "workers", 0, "processes; 0 uses all cores; 1 stays in this one")
    integer_flag(flag_values, "max_rejects", NONE, "rejected images beyond which it gives up; -1: never")
    boolean_flag(flag_values, "overwrite", "delete shards of this prefix made with other settings")
    boolean_flag(flag_values, "json", "print the summary as one JSON object")


def main(flag_values: CommandFlags) -> int:
    return run(flag_values, partial(convert, workers=flag_values.workers))


def run(fv: CommandFlags, conversion: Callable[..., Summary]) -> int:
    """Calls `conversion` as `convert` is called, and tells what it did; the exit code."""
    given: dict[str, Any] = {field.name: fv[field.name].value for field in fields(Settings) if field.name in fv}
    given |= {
        "frame": None if fv.frame == NONE else fv.frame,
        "salt": None if fv.salt_file is None else read_salt(fv.salt_file),
    }
    max_rejects = None if fv.max_rejects == NONE else fv.max_rejects
    try:
        summary = conversion(
            fv.images, fv.csv, fv.out, Settings(**given), max_rejects=max_rejects, overwrite=fv.overwrite
        )
    except KeyboardInterrupt as error:
        raise errors.Interrupted("interrupted; whole shards are kept, the same command makes the others") from error
    print(json.dumps(summary.as_json()) if fv.json else "\n".join(summary.lines()))
    return errors.EXIT_REJECTS if summary.rejects else errors.EXIT_DONE
