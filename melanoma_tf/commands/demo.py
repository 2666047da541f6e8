"""Draws a miniature competition: DICOM, JPEG, TFRecords and tables in the download's own layout.

Drawn lesions, not photographs: to try every command on, and to learn nothing about real skin from.
"""

from __future__ import annotations

from pathlib import Path

from melanoma_tf.command_line import CommandFlags, integer_flag, text_flag


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "out", None, "folder to make; it must be absent or empty", required=True)
    integer_flag(flag_values, "seed", 2020, "the same seed draws the same bytes", lower_bound=0)
    integer_flag(flag_values, "patients", 60, "patients in the training set", lower_bound=0)
    integer_flag(flag_values, "images", 300, "images in the training set", lower_bound=0)
    integer_flag(flag_values, "test_patients", 20, "patients in the test set", lower_bound=0)
    integer_flag(flag_values, "test_images", 80, "images in the test set", lower_bound=0)


def main(flag_values: CommandFlags) -> None:
    from melanoma_tf.miniature import make_miniature

    make_miniature(
        Path(flag_values.out), seed=flag_values.seed, patients=flag_values.patients, images=flag_values.images,
        test_patients=flag_values.test_patients, test_images=flag_values.test_images,
    )  # fmt: skip
    print(f"miniature competition in {flag_values.out}: {flag_values.images} training and "
          f"{flag_values.test_images} test images")  # fmt: skip
