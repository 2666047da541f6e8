"""Photographs (DICOM, JPEG, PNG) and a CSV to TFRecord shards; the same command again continues.

  tfrecord-tools convert --images=jpeg/train --csv=train.csv --out=shards --size=512

Writes train00-2071.tfrec and so on, train.csv, train.rejects.csv where images could not be used (exit code 3), and
train.manifest.json last. A second call with the test set may share the folder.
"""

from __future__ import annotations

from melanoma_tf import errors
from melanoma_tf.command_line import CommandFlags, boolean_flag, choice_flag, integer_flag, text_flag
from tfrecord_tools.convert import PREFIXES, ConvertSummary, convert
from tfrecord_tools.images import FITS

NO_LIMIT = -1


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "images", None, "folder with image_name + .jpg, .jpeg, .dcm or .png", required=True)
    text_flag(flag_values, "csv", None, "table with image_name, and target for a train set", required=True)
    text_flag(flag_values, "out", None, "folder for the shards", required=True)
    integer_flag(flag_values, "size", 1024, "side of the square in pixels; 0 keeps originals (a JPEG bit for bit)")
    choice_flag(flag_values, "fit", "crop", FITS, "crop: short side to size, then the centre; squash: both sides to "
                "size; pad: long side to size, black around")  # fmt: skip
    integer_flag(flag_values, "quality", 95, "of the JPEG, 1-100; from 90 on with full chroma (4:4:4)")
    integer_flag(flag_values, "shards", 16, "number of shards")
    choice_flag(flag_values, "prefix", None, PREFIXES, "name of the set; without, train when the table has a target")
    integer_flag(flag_values, "workers", 0, "processes; 0 uses all cores")
    integer_flag(flag_values, "max_rejects", NO_LIMIT, "rejected images beyond which it gives up; -1: never")
    boolean_flag(flag_values, "overwrite", "delete shards of this prefix made with other settings")


def main(flag_values: CommandFlags) -> int:
    try:
        summary = _convert(flag_values)
    except KeyboardInterrupt as error:
        raise errors.Interrupted("interrupted; whole shards are kept, the same command makes the others") from error
    print(summary.line())
    return errors.EXIT_REJECTS if summary.rejects else errors.EXIT_DONE


def _convert(fv: CommandFlags) -> ConvertSummary:
    return convert(
        fv.images, fv.csv, fv.out, fv.size, fit=fv.fit, quality=fv.quality, shards=fv.shards, prefix=fv.prefix,
        workers=fv.workers, max_rejects=None if fv.max_rejects == NO_LIMIT else fv.max_rejects, overwrite=fv.overwrite,
    )  # fmt: skip
