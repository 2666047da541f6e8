"""What we write conforms and comes back; the rest of the reader is in test_dicom_kinds and test_dicom_faults."""

import io
import sys
import warnings

import numpy as np
import pydicom
import pytest

from melanoma_tf.dicom import write_photograph
from melanoma_tf.errors import RejectError, UserError
from tests.dicom_making import jpeg, shown
from tfrecord_tools import dicom


@pytest.fixture
def picture():
    """uint8[60,80,3], smooth, with a different course in every channel."""
    y, x = np.mgrid[:60, :80]
    return np.stack([3 * x, 4 * y, 255 - 2 * x - y], axis=-1).astype(np.uint8)


def _write(path, stream, image_name="ISIC_0000001", **facts):
    known = {"patient_id": "IP_0000002", "sex": "female", "age": 45.0, "site": "head/neck"}
    write_photograph(path, stream, rows=60, columns=80, image_name=image_name, **(known | facts))


@pytest.fixture
def photograph(tmp_path, picture):
    """The bytes of a file of ours, and the JPEG within."""
    stream = jpeg(picture, subsampling="4:2:2")
    path = tmp_path / "ISIC_0000001.dcm"
    _write(path, stream)
    return path.read_bytes(), stream


def test_round_trip_keeps_the_jpeg_bit_for_bit(photograph):
    source, stream = photograph
    image = dicom.read_photograph(source)
    assert image.jpeg == stream and image.pixels is None


def test_an_odd_jpeg_comes_back_without_its_padding(tmp_path, picture):
    streams = [jpeg(picture, quality=quality, subsampling="4:2:2") for quality in range(60, 95)]
    odd = next(stream for stream in streams if len(stream) % 2)
    _write(tmp_path / "a.dcm", odd, sex=None, age=None, site=None)
    assert dicom.read_photograph((tmp_path / "a.dcm").read_bytes()).jpeg == odd


def test_what_we_write_conforms(photograph):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom warns of values that break the standard
        dataset = pydicom.dcmread(io.BytesIO(photograph[0]))
        values = {element.keyword: element.value for element in dataset}
    meta = dataset.file_meta
    assert photograph[0][:132] == bytes(128) + b"DICM"
    assert meta.MediaStorageSOPClassUID == dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.77.1.4"
    assert meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert meta.FileMetaInformationVersion == b"\x00\x01" and meta.FileMetaInformationGroupLength > 0
    uids = [dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID]
    uids.append(meta.ImplementationClassUID)
    assert len(set(uids)) == 4 and all(uid.is_valid for uid in uids)
    assert (dataset.Modality, dataset.PhotometricInterpretation) == ("XC", "YBR_FULL_422")
    pixel_module = {"Rows": 60, "Columns": 80, "SamplesPerPixel": 3, "PlanarConfiguration": 0,
                    "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}  # fmt: skip
    assert pixel_module.items() <= values.items()
    assert (dataset.PatientID, dataset.PatientSex, dataset.PatientAge) == ("IP_0000002", "F", "045Y")
    assert dataset.BodyPartExamined == "HEAD NECK"
    type_2 = {"PatientName", "PatientBirthDate", "StudyDate", "StudyTime", "ReferringPhysicianName",
              "StudyID", "AccessionNumber", "SeriesNumber", "Manufacturer",
              "AcquisitionContextSequence"}  # fmt: skip
    assert type_2 <= set(values)
    assert dataset.LossyImageCompression == "01" and "LossyImageCompressionRatio" in dataset


def test_pydicom_shows_the_colours_of_what_we_write(photograph, picture):
    pixels = pydicom.dcmread(io.BytesIO(photograph[0])).pixel_array
    assert np.abs(pixels.astype(int) - picture).mean() < 3
    assert np.abs(shown(dicom.read_photograph(photograph[0])).astype(int) - picture).mean() < 3


def test_same_input_same_bytes_and_other_name_other_uids(tmp_path, photograph):
    source, stream = photograph
    for name in ("ISIC_0000001", "ISIC_0000009"):
        _write(tmp_path / "again.dcm", stream, image_name=name)
        assert ((tmp_path / "again.dcm").read_bytes() == source) == (name == "ISIC_0000001")


def test_burned_in_annotation_is_refused_unless_allowed(photograph):
    dataset = pydicom.dcmread(io.BytesIO(photograph[0]))
    dataset.BurnedInAnnotation = "YES"
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(RejectError, match=r"^burned_in_annotation: "):
        dicom.read_photograph(buffer.getvalue())
    assert dicom.read_photograph(buffer.getvalue(), allow_burned_in=True).jpeg == photograph[1]


@pytest.mark.parametrize(
    "source",
    [b"", b"GIF89a", b"text\n" * 50, bytes(200), bytes(128) + b"DICX" + bytes(90), jpeg(np.zeros((9, 9, 3), "u1"))],
)
def test_other_files_are_not_dicom(source):
    assert not dicom.looks_like_dicom(source)
    with pytest.raises(RejectError, match=r"^not_dicom: "):
        dicom.read_photograph(source)


def test_what_looks_like_dicom(photograph):
    assert dicom.looks_like_dicom(photograph[0]) and dicom.looks_like_dicom(photograph[0][132:])


def test_missing_pydicom_is_the_users_to_install(photograph, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"pip install 'melanoma_tf\[dicom\]'"):
        dicom.read_photograph(photograph[0])
