"""Photographs (DICOM, JPEG, PNG) and a CSV to TFRecord shards; the same command again continues.

  tfrecord-tools convert --images=jpeg/train --csv=train.csv --out=shards --size=512

Writes train00-2071.tfrec and so on, train.csv, train.rejects.csv where images could not be used (exit code 3), and
train.manifest.json last. A second call with the test set may share the folder.
"""

from __future__ import annotations

from absl import flags

from melanoma_tf import errors
from tfrecord_tools.convert import PREFIXES, ConvertSummary, convert
from tfrecord_tools.images import FITS

NO_LIMIT = -1


def define_flags(flag_values: flags.FlagValues) -> None:
    fv = {"flag_values": flag_values}
    flags.DEFINE_string("images", None, "folder with image_name + .jpg, .jpeg, .dcm or .png", required=True, **fv)
    flags.DEFINE_string("csv", None, "table with image_name, and target for a train set", required=True, **fv)
    flags.DEFINE_string("out", None, "folder for the shards", required=True, **fv)
    flags.DEFINE_integer("size", 1024, "side of the square in pixels; 0 keeps originals (a JPEG bit for bit)", **fv)
    flags.DEFINE_enum("fit", "crop", FITS, "crop: short side to size, then the centre; squash: both sides to size; "
                      "pad: long side to size, black around", **fv)  # fmt: skip
    flags.DEFINE_integer("quality", 95, "of the JPEG, 1-100; from 90 on with full chroma (4:4:4)", **fv)
    flags.DEFINE_integer("shards", 16, "number of shards", **fv)
    flags.DEFINE_enum("prefix", None, PREFIXES, "name of the set; by default train when the table has a target", **fv)
    flags.DEFINE_integer("workers", 0, "processes; 0 uses all cores", **fv)
    flags.DEFINE_integer("max_rejects", NO_LIMIT, "give up when more images than this are rejected; -1: never", **fv)
    flags.DEFINE_boolean("overwrite", False, "delete shards of this prefix made with other settings", **fv)


def main(flag_values: flags.FlagValues) -> int:
    try:
        summary = _convert(flag_values)
    except KeyboardInterrupt as error:
        raise errors.Interrupted("interrupted; whole shards are kept, the same command makes the others") from error
    print(summary.line())
    return errors.EXIT_REJECTS if summary.rejects else errors.EXIT_DONE


def _convert(fv: flags.FlagValues) -> ConvertSummary:
    return convert(
        fv.images, fv.csv, fv.out, fv.size, fit=fv.fit, quality=fv.quality, shards=fv.shards, prefix=fv.prefix,
        workers=fv.workers, max_rejects=None if fv.max_rejects == NO_LIMIT else fv.max_rejects, overwrite=fv.overwrite,
    )  # fmt: skip
