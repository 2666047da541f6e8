"""draw a miniature competition: DICOM, JPEG, TFRecords and tables in the download's own layout

Drawn lesions, not photographs: to try every command on, and to learn nothing about real skin from."""

from __future__ import annotations

from pathlib import Path

from absl import flags


def define_flags(flag_values: flags.FlagValues) -> None:
    number = lambda name, default, help: flags.DEFINE_integer(  # noqa: E731
        name, default, help, lower_bound=0, flag_values=flag_values
    )
    flags.DEFINE_string("out", None, "folder to make; it must be absent or empty", flag_values=flag_values)
    number("seed", 2020, "the same seed draws the same bytes")
    number("patients", 60, "patients in the training set")
    number("images", 300, "images in the training set")
    number("test_patients", 20, "patients in the test set")
    number("test_images", 80, "images in the test set")
    flags.mark_flags_as_required(["out"], flag_values=flag_values)


def main(flag_values: flags.FlagValues) -> None:
    from melanoma_tf.miniature import make_miniature

    make_miniature(
        Path(flag_values.out), seed=flag_values.seed, patients=flag_values.patients, images=flag_values.images,
        test_patients=flag_values.test_patients, test_images=flag_values.test_images,
    )  # fmt: skip
    print(f"miniature competition in {flag_values.out}: {flag_values.images} training and "
          f"{flag_values.test_images} test images")  # fmt: skip
