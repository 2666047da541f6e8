"""Transfer syntaxes (PS3.5 A, PS3.6 A) by what they store of the pixels."""

from __future__ import annotations

from melanoma_tf.errors import RejectError

IMPLICIT_LITTLE, EXPLICIT_LITTLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, EXPLICIT_BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
RLE_LOSSLESS, JPEG_LOSSLESS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.70"

UNCOMPRESSED, RLE = "uncompressed", "RLE"
DCT, LOSSLESS, JPEG_LS, JPEG_2000 = "JPEG", "lossless JPEG", "JPEG-LS", "JPEG 2000"

KIND_OF_SYNTAX = {
    IMPLICIT_LITTLE: UNCOMPRESSED,
    EXPLICIT_LITTLE: UNCOMPRESSED,
    DEFLATED: UNCOMPRESSED,
    EXPLICIT_BIG: UNCOMPRESSED,
    RLE_LOSSLESS: RLE,
    "1.2.840.10008.1.2.4.50": DCT,  # baseline
    "1.2.840.10008.1.2.4.51": DCT,  # extended, 8 or 12 bits
    "1.2.840.10008.1.2.4.53": DCT,  # progressive, retired
    "1.2.840.10008.1.2.4.55": DCT,
    "1.2.840.10008.1.2.4.57": LOSSLESS,
    JPEG_LOSSLESS: LOSSLESS,
    "1.2.840.10008.1.2.4.80": JPEG_LS,
    "1.2.840.10008.1.2.4.81": JPEG_LS,
    "1.2.840.10008.1.2.4.90": JPEG_2000,
    "1.2.840.10008.1.2.4.91": JPEG_2000,
    "1.2.840.10008.1.2.4.201": JPEG_2000,  # 201-203 are high-throughput
    "1.2.840.10008.1.2.4.202": JPEG_2000,
    "1.2.840.10008.1.2.4.203": JPEG_2000,
}


def kind_of(syntax: str) -> str:
    """What a transfer syntax stores. Raises RejectError with code unsupported."""
    if syntax not in KIND_OF_SYNTAX:
        raise RejectError("unsupported", "a transfer syntax that is private, for video, or too rare to be read")
    return KIND_OF_SYNTAX[syntax]
