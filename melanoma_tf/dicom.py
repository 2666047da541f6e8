"""Writing DICOM photographs of skin (PS3.3 A.32.4, PS3.5 A.4), and the one place that imports pydicom."""

from __future__ import annotations

import io
import os
import uuid
from typing import TYPE_CHECKING, Any

from melanoma_tf import files
from melanoma_tf.errors import UserError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

VL_PHOTOGRAPHIC_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.4"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"

# Type 2: they have to be there, even empty.
EMPTY_TAGS = [
    "PatientName", "PatientBirthDate", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID",
    "AccessionNumber", "SeriesNumber", "Manufacturer", "PatientOrientation",
]  # fmt: skip


def import_pydicom() -> Any:
    """The module `pydicom`, version 3 or newer, with what reading and writing need of it loaded.

    Raises: UserError that says what to install.
    """
    try:
        import pydicom
        import pydicom.encaps
        import pydicom.filereader
        import pydicom.pixels
    except ImportError as error:
        raise UserError("DICOM needs pydicom 3 or newer: pip install 'melanoma_tf[dicom]'") from error
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
    pydicom = import_pydicom()
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
    dataset.PixelData = import_pydicom().encaps.encapsulate([jpeg])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
