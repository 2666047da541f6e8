"""Every file that comes with pydicom is read as another decoder reads it, or refused for a reason."""

import warnings
from pathlib import Path

import gdcm
import libjpeg
import numpy as np
import pydicom
import pytest
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, get_decoder

from melanoma_tf.errors import RejectError
from tests.dicom_making import RLE, shown
from tfrecord_tools import dicom

TEST_FILES = sorted(
    path
    for path in (Path(pydicom.__file__).parent / "data").rglob("*")
    if path.is_file() and path.suffix not in (".py", ".pyc", ".pyi", ".typed")
)
CODES = {"not_dicom", "no_pixels", "truncated", "undecodable", "contradiction", "unsupported", "multi_frame"}
OUTCOMES = {
    "MR_truncated.dcm": "truncated",
    "rtplan_truncated.dcm": "truncated",
    "JPEG2000-embedded-sequence-delimiter.dcm": "contradiction",
    "badVR.dcm": "undecodable",
    "examples_ybr_color.dcm": "multi_frame",
    "liver_1frame.dcm": "unsupported",
    "rtdose_1frame.dcm": "unsupported",
    "SC_rgb_rle_32bit.dcm": "unsupported",
    "README.txt": "not_dicom",
    "no_meta.dcm": "not_dicom",
    "rtplan.dcm": "no_pixels",
    "rtstruct.dcm": "no_pixels",
    "ExplVR_BigEndNoMeta.dcm": "no_pixels",
}
# Where the reference decoder fails, another file holds the same picture: libjpeg refuses the scan header that was
# repaired in JPGExtended.dcm, and GDCM mixes the planes of 16-bit run-length coded colours.
SAME_PICTURE = {
    "JPEG-lossy.dcm": "JPGExtended.dcm",
    "SC_rgb_rle_16bit.dcm": "SC_rgb_rle.dcm",
    "SC_rgb_rle_16bit_2frame.dcm": "SC_rgb_rle_2frame.dcm",
}


def _gdcm_pixels(path, frame):
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    image = reader.GetImage()
    columns, rows = image.GetDimension(0), image.GetDimension(1)
    samples = image.GetPixelFormat().GetSamplesPerPixel()
    dtype = {8: "u1", 16: "u2"}[image.GetPixelFormat().GetBitsAllocated()]
    flat = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), dtype)
    flat = flat.reshape(-1, rows * columns * samples)[frame]
    if samples == 1:
        return flat.reshape(rows, columns)
    if image.GetPlanarConfiguration():
        return flat.reshape(samples, rows, columns).transpose(1, 2, 0)
    return flat.reshape(rows, columns, samples)


def _reference_samples(path, dataset, frame):
    """By another decoder than ours: pydicom for raw pixels, libjpeg for deep JPEG, GDCM for the rest."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return get_decoder(syntax).as_array(dataset, index=frame)[0]
    if syntax == RLE:
        samples = _gdcm_pixels(path, frame)
        return samples.view("i2") if dataset.PixelRepresentation and samples.itemsize == 2 else samples
    if "JPEG" in syntax.keyword and "LS" not in syntax.keyword and "2000" not in syntax.keyword:
        if dataset.BitsAllocated == 16:
            return libjpeg.decode(get_frame(dataset.PixelData, frame, number_of_frames=1))
    return get_decoder(syntax).as_array(dataset, index=frame, decoding_plugin="gdcm")[0]


def _reference(path, frame):
    """The RGB of a file, by pydicom's processing."""
    dataset = pydicom.dcmread(path)
    samples = _reference_samples(path, dataset, frame)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        samples = apply_color_lut(samples, dataset)
    if samples.ndim == 3:
        return samples / (1 if samples.itemsize == 1 else 257)
    half = 1 << dataset.BitsStored - 1
    ends = (-half, half - 1) if dataset.PixelRepresentation else (0, 2 * half - 1)
    low, high = sorted(apply_modality_lut(np.array(ends), dataset))
    shown_values = apply_voi_lut(apply_modality_lut(samples, dataset), dataset).astype(float)
    grey = ((shown_values - low) / (high - low)).clip(0, 1) * 255
    grey = 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey
    return np.repeat(grey[..., None], 3, axis=2)


def _read_any(path):
    """(image, frame) or the reject; of several frames the last."""
    source = path.read_bytes()
    try:
        return dicom.read_photograph(source), 0
    except RejectError as reject:
        if reject.code != "multi_frame":
            return reject, 0
        frame = int(reject.detail.rsplit("-", 1)[1])
    try:
        return dicom.read_photograph(source, frame=frame), frame
    except RejectError as reject:
        return reject, frame


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.name)
def test_every_file_that_comes_with_pydicom(path):
    image, frame = _read_any(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(image, RejectError):
            assert image.code in CODES
        else:
            expected = _reference(path.with_name(SAME_PICTURE.get(path.name, path.name)), frame)
            assert np.abs(shown(image) - expected).mean() <= 2
    if path.name in OUTCOMES:
        with pytest.raises(RejectError) as caught:
            dicom.read_photograph(path.read_bytes())
        assert caught.value.code == OUTCOMES[path.name]
