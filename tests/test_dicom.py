"""DICOM in and out: pydicom judges what we write, and its own test files are what we must read."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from melanoma_tf import dicom
from melanoma_tf.errors import RejectError, UserError

pydicom = pytest.importorskip("pydicom", reason="needs melanoma_tf[dicom]")

RED, BLACK, WHITE = (255, 0, 0), (0, 0, 0), (255, 255, 255)


def _shipped(name):
    """A file of pydicom's wheel; that it is there is asserted, never skipped."""
    path = pydicom.data.get_testdata_file(name, download=False)
    assert path is not None, f"{name} is not in this pydicom"
    with open(path, "rb") as file:
        return file.read()


def _jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 90, "subsampling": "4:2:2"} | options)
    return buffer.getvalue()


@pytest.fixture
def picture():
    """uint8[60,80,3], smooth, with a different course in every channel."""
    y, x = np.mgrid[:60, :80]
    return np.stack([3 * x, 4 * y, 255 - 2 * x - y], axis=-1).astype(np.uint8)


def _write(path, jpeg, image_name="ISIC_0000001", **facts):
    known = {"patient_id": "IP_0000002", "sex": "female", "age": 45.0, "site": "head/neck"}
    dicom.write_photograph(path, jpeg, rows=60, columns=80, image_name=image_name, **(known | facts))


@pytest.fixture
def photograph(tmp_path, picture):
    """The bytes of a file of ours, and the JPEG within."""
    jpeg = _jpeg(picture)
    path = tmp_path / "ISIC_0000001.dcm"
    _write(path, jpeg)
    return path.read_bytes(), jpeg


def _rgb(image):
    if image.jpeg is None:
        return image.pixels
    return np.asarray(Image.open(io.BytesIO(image.jpeg)).convert("RGB"))


def _changed(source, change):
    """The file again after `change(dataset)`."""
    dataset = pydicom.dcmread(io.BytesIO(source))
    change(dataset)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def _rejection(source):
    with pytest.raises(RejectError) as caught:
        dicom.read_photograph(source)
    return caught.value.code


def test_round_trip_keeps_the_jpeg_bit_for_bit(photograph):
    source, jpeg = photograph
    image = dicom.read_photograph(source)
    assert image.jpeg == jpeg and image.pixels is None


def test_an_odd_jpeg_comes_back_without_its_padding(tmp_path, picture):
    jpegs = [_jpeg(picture, quality=quality) for quality in range(60, 95)]
    odd = next(jpeg for jpeg in jpegs if len(jpeg) % 2)
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
    dataset = pydicom.dcmread(io.BytesIO(photograph[0]))
    pixels = dataset.pixel_array
    if int(pydicom.__version__.split(".")[0]) < 3:
        from pydicom.pixel_data_handlers.util import convert_color_space

        pixels = convert_color_space(pixels, "YBR_FULL_422", "RGB")
    assert np.abs(pixels.astype(int) - picture).mean() < 3


def test_same_input_same_bytes_and_other_name_other_uids(tmp_path, photograph):
    source, jpeg = photograph
    for name in ("ISIC_0000001", "ISIC_0000009"):
        _write(tmp_path / "again.dcm", jpeg, image_name=name)
        assert ((tmp_path / "again.dcm").read_bytes() == source) == (name == "ISIC_0000001")


@pytest.mark.parametrize(
    ("name", "as_jpeg"),
    [
        ("SC_rgb_jpeg_dcmtk.dcm", True),
        ("SC_rgb_dcmtk_+eb+cy+n1.dcm", True),
        ("SC_rgb_dcmtk_+eb+cy+s2.dcm", True),
        ("SC_rgb_jpeg_lossy_gdcm.dcm", True),
        ("SC_rgb_dcmtk_+eb+cr.dcm", True),
        ("SC_rgb_rle.dcm", False),
        ("SC_ybr_full_422_uncompressed.dcm", False),
    ],
)
def test_ten_stripes_in_every_encoding(name, as_jpeg):
    """pydicom's test card has ten stripes of ten rows: red, pink, green, ..., black, two greys, white."""
    image = dicom.read_photograph(_shipped(name))
    assert (image.jpeg is not None) == as_jpeg
    expected = [RED, (255, 128, 128), (0, 255, 0), (128, 255, 128), (0, 0, 255), (128, 128, 255), BLACK,
                (64, 64, 64), (192, 192, 192), WHITE]  # fmt: skip
    assert np.abs(_rgb(image)[5::10, 50].astype(int) - expected).max() <= 6


@pytest.mark.parametrize("name", ["SC_rgb_jpeg.dcm", "SC_jpeg_no_color_transform.dcm"])
def test_unmarked_rgb_jpeg_is_decoded_because_other_decoders_would_mistake_it(name):
    """The same picture uncompressed is the reference."""
    image = dicom.read_photograph(_shipped(name))
    reference = dicom.read_photograph(_shipped("SC_rgb_jpeg_dcmd.dcm")).pixels
    assert image.jpeg is None
    assert np.abs(image.pixels.astype(int) - reference).mean() < 3


def test_subsampled_jpeg_is_never_rgb_whatever_the_file_says(photograph, picture):
    source, jpeg = photograph
    length = int.from_bytes(jpeg[4:6], "big")
    unmarked = jpeg[:2] + jpeg[4 + length :]
    assert jpeg[2:4] == b"\xff\xe0" and "jfif" not in Image.open(io.BytesIO(unmarked)).info
    relabel = _changed(
        _with_jpeg(source, unmarked), lambda dataset: setattr(dataset, "PhotometricInterpretation", "RGB")
    )
    assert np.abs(_rgb(dicom.read_photograph(relabel)).astype(int) - picture).mean() < 3


def test_marked_rgb_jpeg_is_handed_on():
    image = dicom.read_photograph(_shipped("SC_rgb_jpeg_app14_dcmd.dcm"))
    reference = dicom.read_photograph(_shipped("SC_rgb_jpeg_dcmd.dcm")).pixels
    assert image.jpeg is not None
    assert np.abs(_rgb(image).astype(int) - reference).mean() < 3


def test_uncompressed_rgb_is_taken_as_it_is():
    source = _shipped("examples_rgb_color.dcm")
    raw = pydicom.dcmread(io.BytesIO(source)).PixelData
    pixels = dicom.read_photograph(source).pixels
    np.testing.assert_array_equal(pixels, np.frombuffer(raw, np.uint8)[: pixels.size].reshape(240, 320, 3))


def test_palette_is_applied():
    source = _shipped("examples_palette.dcm")
    dataset = pydicom.dcmread(io.BytesIO(source))
    pixels = dicom.read_photograph(source).pixels
    index = np.frombuffer(dataset.PixelData, np.uint8).reshape(350, 800)
    for channel, colour in enumerate(("Red", "Green", "Blue")):
        table = np.frombuffer(dataset[f"{colour}PaletteColorLookupTableData"].value, "<u2")
        np.testing.assert_array_equal(pixels[..., channel], (table >> 8)[index])


@pytest.mark.parametrize(("interpretation", "sign"), [("MONOCHROME2", 1), ("MONOCHROME1", -1)])
def test_grey_is_replicated_and_monochrome1_inverted(interpretation, sign):
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5

    def make_grey(dataset):
        dataset.SamplesPerPixel, dataset.Rows, dataset.Columns = 1, 6, 8
        dataset.PhotometricInterpretation, dataset.PixelData = interpretation, grey.tobytes()
        del dataset.PlanarConfiguration

    pixels = dicom.read_photograph(_changed(_shipped("examples_rgb_color.dcm"), make_grey)).pixels
    np.testing.assert_array_equal(pixels, np.repeat((grey if sign > 0 else 255 - grey)[..., None], 3, axis=2))


def test_grey_jpeg(photograph):
    grey = np.tile(np.arange(80, dtype=np.uint8) * 3, (60, 1))

    def make_grey(dataset):
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.PixelData = pydicom.encaps.encapsulate([_jpeg(grey, subsampling=-1)])
        dataset["PixelData"].is_undefined_length = True

    pixels = dicom.read_photograph(_changed(photograph[0], make_grey)).pixels
    assert pixels.shape == (60, 80, 3) and np.abs(pixels[..., 1].astype(int) - grey).max() <= 4


def _with_jpeg(source, jpeg):
    def change(dataset):
        dataset.PixelData = pydicom.encaps.encapsulate([jpeg])
        dataset["PixelData"].is_undefined_length = True

    return _changed(source, change)


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_cut_jpeg_is_truncated(photograph, part):
    source, jpeg = photograph
    assert _rejection(_with_jpeg(source, jpeg[: int(part * len(jpeg))])) == "truncated"


@pytest.mark.parametrize("missing", [9, 50, 300])
def test_cut_file_is_truncated(photograph, missing):
    assert _rejection(photograph[0][:-missing]) == "truncated"


def test_cut_uncompressed_file_is_truncated():
    source = _shipped("examples_rgb_color.dcm")
    assert _rejection(source[: len(source) // 2]) == "truncated"


@pytest.mark.parametrize("name", ["examples_ybr_color.dcm", "SC_rgb_rle_2frame.dcm"])
def test_multi_frame_is_refused(name):
    assert _rejection(_shipped(name)) == "multi_frame"


@pytest.mark.parametrize("source", [b"", b"GIF89a", bytes(200), bytes(128) + b"DICX" + bytes(90)])
def test_other_files_are_not_dicom(source):
    assert _rejection(source) == "not_dicom"


def test_jpeg_file_is_not_dicom(picture):
    assert _rejection(_jpeg(picture)) == "not_dicom"


def test_file_without_picture():
    assert _rejection(_shipped("rtplan.dcm")) == "no_pixels"


@pytest.mark.parametrize("name", ["CT_small.dcm", "SC_rgb_rle_16bit.dcm", "liver_1frame.dcm"])
def test_what_is_no_8_bit_photograph_is_unsupported(name):
    assert _rejection(_shipped(name)) == "unsupported"


def test_jpeg_of_another_size_is_unsupported(photograph, picture):
    assert _rejection(_with_jpeg(photograph[0], _jpeg(picture[:50]))) == "unsupported"


def test_burned_in_annotation_is_refused(photograph):
    source = _changed(photograph[0], lambda dataset: setattr(dataset, "BurnedInAnnotation", "YES"))
    assert _rejection(source) == "burned_in_annotation"


@pytest.mark.parametrize("cut", [200, 400, 600, 900, 1200, -40])
def test_no_message_names_the_patient(photograph, cut):
    source = _changed(photograph[0], lambda dataset: setattr(dataset, "PatientName", "Secret^Person"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RejectError) as caught:
            dicom.read_photograph(source[:cut])
    assert "Secret" not in str(caught.value) and "IP_0000002" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_missing_pydicom_is_the_users_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"pip install 'melanoma_tf\[dicom\]'"):
        dicom.read_photograph(b"")
