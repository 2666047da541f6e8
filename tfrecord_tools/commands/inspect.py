"""What is in a folder of shards: dialect, records, classes, picture sizes.

tfrecord-tools inspect --data_dir=shards
"""

from __future__ import annotations

import json

from melanoma_tf.command_line import CommandFlags, boolean_flag, text_flag
from tfrecord_tools import inspection


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "data_dir", None, "folder with *.tfrec", required=True)
    boolean_flag(flag_values, "json", "print JSON, with fields and every size")


def main(flag_values: CommandFlags) -> None:
    sets = inspection.inspect(flag_values.data_dir)
    if flag_values.json:
        print(json.dumps([inspection.as_json(contents) for contents in sets], indent=2))
    else:
        print(inspection.as_table(sets))
