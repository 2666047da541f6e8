"""DICOM photographs of skin (PS3.3 A.32.4, PS3.5 A.4): writing them, reading any that hold one 8-bit picture.

The challenge's files are JPEG baseline, so the JPEG can usually be handed on as it is.
"""

from __future__ import annotations

import importlib
import io
import os
import uuid
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from melanoma_tf import files
from melanoma_tf.errors import RejectError, UserError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

VL_PHOTOGRAPHIC_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.4"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_FAMILY = "1.2.840.10008.1.2.4."  # JPEG, JPEG-LS, JPEG 2000: every codestream of theirs ends in FF D9
END_OF_CODESTREAM = b"\xff\xd9"

# Type 2: they have to be there, even empty.
EMPTY_TAGS = [
    "PatientName", "PatientBirthDate", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID",
    "AccessionNumber", "SeriesNumber", "Manufacturer", "PatientOrientation",
]  # fmt: skip

# Nothing that names a patient is read from the file at all.
WANTED_TAGS = [
    "BurnedInAnnotation", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows",
    "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
]  # fmt: skip
for _colour in ("Red", "Green", "Blue"):
    WANTED_TAGS += [f"{_colour}PaletteColorLookupTableDescriptor", f"{_colour}PaletteColorLookupTableData"]
    WANTED_TAGS += [f"Segmented{_colour}PaletteColorLookupTableData"]


@dataclass(frozen=True)
class DicomImage:
    """The picture of a DICOM file; exactly one of the two fields is set.

    Attributes:
      jpeg: a whole 8-bit JPEG bitstream that any JFIF decoder turns into the right RGB.
      pixels: uint8[H,W,3] RGB, for everything else.
    """

    jpeg: bytes | None = None
    pixels: np.ndarray | None = None


def _pydicom() -> Any:
    try:
        import pydicom.encaps
    except ImportError as error:
        raise UserError("reading DICOM needs pydicom: pip install 'melanoma_tf[dicom]'") from error
    return pydicom


def write_photograph(
    path: str | os.PathLike, jpeg: bytes, *, rows: int, columns: int, image_name: str, patient_id: str,
    sex: str | None, age: float | None, site: str | None,
) -> None:  # fmt: skip
    """Writes a VL Photographic Image Storage file whose bytes are a function of the arguments alone.

    Args:
      path: file to write, in an existing folder.
      jpeg: a JPEG baseline bitstream, YCbCr with 4:2:2 subsampling, of `rows` x `columns` pixels.
      image_name, patient_id: as in the competition's table; all UIDs derive from the image name.
      sex: `male`, `female` or None. age: years or None. site: as in the table or None.

    Raises: UserError without pydicom, or when the file cannot be written.
    """
    pydicom = _pydicom()
    meta = pydicom.dataset.FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # pydicom fills it in, but only where it is there
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = VL_PHOTOGRAPHIC_IMAGE_STORAGE
    meta.MediaStorageSOPInstanceUID = _uid("image", image_name)
    meta.TransferSyntaxUID = JPEG_BASELINE
    meta.ImplementationClassUID = _uid("implementation", "melanoma_tf")
    meta.ImplementationVersionName = "MELANOMA_TF"
    dataset = pydicom.dataset.FileDataset(
        "", {}, file_meta=meta, preamble=bytes(128), is_implicit_VR=False, is_little_endian=True
    )
    _describe_patient(dataset, image_name, patient_id, sex, age, site)
    _describe_picture(dataset, jpeg, rows, columns)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset)
    files.write_whole(path, buffer.getvalue())


def _uid(kind: str, name: str) -> str:
    """A UID of the UUID-derived root 2.25 (PS3.5 B.2) that follows from the name."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'melanoma_tf/{kind}/{name}').int}"


def _describe_patient(
    dataset: Dataset, image_name: str, patient_id: str, sex: str | None, age: float | None, site: str | None
) -> None:
    """Patient, study, series and equipment modules."""
    dataset.SOPClassUID = VL_PHOTOGRAPHIC_IMAGE_STORAGE
    dataset.SOPInstanceUID = _uid("image", image_name)
    dataset.StudyInstanceUID = _uid("study", image_name)
    dataset.SeriesInstanceUID = _uid("series", image_name)
    for keyword in EMPTY_TAGS:
        setattr(dataset, keyword, "")
    dataset.PatientID = patient_id
    dataset.PatientSex = {"male": "M", "female": "F"}.get(sex or "", "")
    if age is not None:
        dataset.PatientAge = f"{int(age):03d}Y"
    if site is not None:
        dataset.BodyPartExamined = site.upper().replace("/", " ")  # the value representation CS has no slash
        dataset.Laterality = ""
    dataset.Modality = "XC"
    dataset.InstanceNumber = 1
    dataset.AcquisitionContextSequence = []


def _describe_picture(dataset: Dataset, jpeg: bytes, rows: int, columns: int) -> None:
    """Image, image pixel and VL image modules."""
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = f"{rows * columns * 3 / len(jpeg):.2f}"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = _pydicom().encaps.encapsulate([jpeg])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def read_photograph(source: bytes) -> DicomImage:
    """Reads the one picture of a DICOM file.

    JPEG baseline comes back undecoded (its end and its size are checked), the rest as RGB pixels: grey is
    replicated, MONOCHROME1 inverted, palettes applied.

    Args:
      source: the whole file.

    Raises: UserError without pydicom; RejectError, whose text holds no value of the file, with the code
      `not_dicom`, `no_pixels`, `truncated`, `multi_frame`, `burned_in_annotation` or `unsupported`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values of the file
        dataset = _read_dataset(source)
        _refuse_what_is_no_photograph(dataset)
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        if syntax.startswith(JPEG_FAMILY):
            codestream = _single_codestream(dataset)
            if syntax in (JPEG_BASELINE, JPEG_EXTENDED):
                return _from_jpeg(codestream, dataset)
        return DicomImage(pixels=_decode(dataset))


def _read_dataset(source: bytes) -> Dataset:
    pydicom = _pydicom()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dataset = pydicom.dcmread(io.BytesIO(source), specific_tags=WANTED_TAGS)
    except pydicom.errors.InvalidDicomError:
        raise RejectError("not_dicom", "no DICOM preamble and prefix at the start of the file") from None
    except EOFError:
        raise RejectError("truncated", "the file ends within an element") from None
    except Exception as error:  # a damaged file can fail anywhere in the parser
        raise RejectError("not_dicom", f"the file cannot be parsed ({type(error).__name__})") from None
    # An encapsulated picture without its end costs pydicom the whole data set, and all it does is warn.
    if any("end of file" in str(warning.message).lower() for warning in caught):
        raise RejectError("truncated", "the file ends within an element")
    if "TransferSyntaxUID" not in dataset.file_meta:
        raise RejectError("unsupported", "no transfer syntax: how the pixels are encoded is unknown")
    return dataset


def _refuse_what_is_no_photograph(dataset: Dataset) -> None:
    if str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES":
        raise RejectError("burned_in_annotation", "the picture is marked as having text burned in")
    if not dataset.get("PixelData"):
        raise RejectError("no_pixels", "the file has no pixel data, or ends before it")
    if not dataset.get("Rows") or not dataset.get("Columns"):
        raise RejectError("no_pixels", "the file does not give the size of its picture")
    if str(dataset.get("NumberOfFrames") or 1) != "1":
        raise RejectError("multi_frame", "more than one frame; extract the wanted one first")
    palette = dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
    if (dataset.get("BitsAllocated") != 8 and not palette) or dataset.get("PixelRepresentation"):
        raise RejectError("unsupported", "not 8 unsigned bits a sample, so no photograph")


def _single_codestream(dataset: Dataset) -> bytes:
    """The one encapsulated codestream, without padding; RejectError when it is cut."""
    encapsulation = _pydicom().encaps
    if hasattr(encapsulation, "generate_frames"):
        frames_of = partial(encapsulation.generate_frames, number_of_frames=1)
    else:
        frames_of = partial(encapsulation.generate_pixel_data_frame, nr_frames=1)  # pydicom 2
    try:
        frames = list(frames_of(dataset.PixelData))
    except Exception as error:
        raise RejectError("truncated", f"the picture is not whole ({type(error).__name__})") from None
    if len(frames) > 1:
        raise RejectError("multi_frame", "more than one frame; extract the wanted one first")
    codestream, end, padding = frames[0].rpartition(END_OF_CODESTREAM) if frames else (b"", b"", b"")
    # Decoders return a cut picture, grey below the cut, as if nothing had happened. Some writers pad with FF.
    if not end or padding.strip(b"\x00\xff"):
        raise RejectError("truncated", "the compressed picture has no end marker")
    return codestream + end


def _from_jpeg(codestream: bytes, dataset: Dataset) -> DicomImage:
    try:
        image = Image.open(io.BytesIO(codestream), formats=("JPEG",))
    except Exception as error:
        raise RejectError("unsupported", f"not an 8-bit JPEG ({type(error).__name__})") from None
    if image.size != (dataset.Columns, dataset.Rows):
        raise RejectError("unsupported", "the JPEG has another size than the file says")
    if image.mode == "RGB" and not _holds_unmarked_rgb(image, dataset):
        return DicomImage(jpeg=codestream)
    if image.mode == "RGB":
        image.draft("YCbCr", image.size)  # takes the components as they are
    elif image.mode != "L":
        raise RejectError("unsupported", "a JPEG of neither one nor three components")
    try:
        image.load()
    except OSError:
        raise RejectError("truncated", "the JPEG is not whole") from None
    return DicomImage(pixels=_to_rgb(np.asarray(image), dataset))


def _holds_unmarked_rgb(image: Any, dataset: Dataset) -> bool:
    """Whether the stream holds RGB but nothing in it says so: there a JFIF decoder assumes YCbCr.

    Where the stream speaks (JFIF or Adobe marker, component names), it is believed before the data set;
    so are its sampling factors, as only colour differences are subsampled (old GDCM wrote such files).
    """
    subsampled = len({component[1:3] for component in image.layer}) > 1
    if "jfif" in image.info or "adobe_transform" in image.info or subsampled:
        return False
    names = bytes(component[0] for component in image.layer)
    return names == b"rgb" or (names != b"RGB" and dataset.get("PhotometricInterpretation") == "RGB")


def _decode(dataset: Dataset) -> np.ndarray:
    pydicom = _pydicom()
    try:
        array = dataset.pixel_array
        # pydicom 3 makes RGB of YCbCr by itself. Version 2 does not, but renames what its decoders converted:
        # the interpretation has to be looked up after decoding.
        interpretation = dataset.get("PhotometricInterpretation")
        if int(pydicom.__version__.split(".")[0]) < 3 and interpretation in ("YBR_FULL", "YBR_FULL_422"):
            from pydicom.pixel_data_handlers.util import convert_color_space

            array = convert_color_space(array, interpretation, "RGB")
    except Exception as error:
        if "bytes" in str(error) and "expected" in str(error):
            raise RejectError("truncated", "fewer pixels than the picture has") from None
        raise RejectError("unsupported", f"no decoder for these pixels ({type(error).__name__})") from None
    return _to_rgb(array, dataset)


def _to_rgb(array: np.ndarray, dataset: Dataset) -> np.ndarray:
    """uint8[H,W,3] of what a decoder gave: grey or palette indices [H,W], or colours [H,W,3]."""
    interpretation = dataset.get("PhotometricInterpretation")
    if interpretation == "PALETTE COLOR":
        array = _apply_palette(array, dataset)
    if array.dtype != np.uint8:
        raise RejectError("unsupported", "not 8 bits a sample, so no photograph")
    if interpretation == "MONOCHROME1":
        array = 255 - array
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3:
        raise RejectError("unsupported", "neither one nor three samples a pixel")
    return np.ascontiguousarray(array)


def _apply_palette(array: np.ndarray, dataset: Dataset) -> np.ndarray:
    old = int(_pydicom().__version__.split(".")[0]) < 3
    module = importlib.import_module("pydicom.pixel_data_handlers.util" if old else "pydicom.pixels.processing")
    try:
        colours = module.apply_color_lut(array, dataset)
    except Exception as error:
        raise RejectError("unsupported", f"the palette cannot be applied ({type(error).__name__})") from None
    return (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
