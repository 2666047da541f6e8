"""What is in a folder of shards: dialect, records, classes, picture sizes.

tfrecord-tools inspect --data_dir=shards
"""

from __future__ import annotations

import json

from absl import flags

from tfrecord_tools import inspection


def define_flags(flag_values: flags.FlagValues) -> None:
    flags.DEFINE_string("data_dir", None, "folder with *.tfrec", required=True, flag_values=flag_values)
    flags.DEFINE_boolean("json", False, "print JSON, with fields and every size", flag_values=flag_values)


def main(flag_values: flags.FlagValues) -> None:
    sets = inspection.inspect(flag_values.data_dir)
    if flag_values.json:
        print(json.dumps([inspection.as_json(contents) for contents in sets], indent=2))
    else:
        print(inspection.as_table(sets))
