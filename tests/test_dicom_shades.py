"""Grey with its windows and tables, palettes, samples of few and of many bits. pydicom's processing is a reference."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from tests import dicom_making as making
from tests.dicom_making import deep, make, plain, rle_stream
from tfrecord_tools import dicom

Y, X = np.mgrid[:60, :80]
GREY = (3 * X).astype(np.uint8)
GREY_12 = (50 * X + Y).astype(np.uint16)
SIGNED_12 = GREY_12.astype(np.int16) - 2048


def _rgb(grey):
    return np.repeat(np.asarray(grey)[..., None], 3, axis=2)


def _full_scale(values, low, high):
    return _rgb((values.astype(float) - low) / (high - low) * 255)


WINDOWS = {
    "none": {},
    "linear": {"WindowCenter": 1800, "WindowWidth": 900},
    "one step": {"WindowCenter": 1800, "WindowWidth": 1},
    "first of two": {"WindowCenter": [1800, 100], "WindowWidth": [900, 50]},
    "exact": {"WindowCenter": 1800, "WindowWidth": 900, "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": 1800, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
    "rescaled": {"WindowCenter": 700, "WindowWidth": 500, "RescaleSlope": 0.5, "RescaleIntercept": -100},
    "rescaled alone": {"RescaleSlope": 2, "RescaleIntercept": -1000},
}


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_grey_is_windowed(window, photometric):
    """pydicom's own processing is the reference; without a window the bits stored are the range."""
    source = plain(GREY_12, **deep(12, PhotometricInterpretation=photometric, **window))
    dataset = pydicom.dcmread(io.BytesIO(source))
    values = apply_voi_lut(apply_modality_lut(GREY_12, dataset), dataset)
    low, high = apply_modality_lut(np.array([0, 4095]), dataset)
    expected = _full_scale(values, low, high)
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    assert np.abs(dicom.read_photograph(source).pixels - expected).max() <= 0.51


def test_negative_slope_turns_light_and_dark():
    source = plain(GREY_12, **deep(12, RescaleSlope=-1, RescaleIntercept=4095))
    expected = _full_scale(4095 - GREY_12.astype(int), 0, 4095)
    assert np.abs(dicom.read_photograph(source).pixels - expected).max() <= 0.5


@pytest.mark.parametrize("syntax", [making.IMPLICIT, making.EXPLICIT, making.BIG_ENDIAN])
@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("bits", [8, 16])
def test_grey_goes_through_tables(keyword, bits, syntax):
    """Values below the table get its first entry, those above it the last."""
    entries = (np.arange(2000)[::-1] * ((1 << bits) - 1) // 1999).astype(np.uint16)
    item = pydicom.Dataset()
    item.LUTDescriptor = [2000, 500, bits]
    item.LUTData = entries.astype(">u2" if syntax == making.BIG_ENDIAN else "<u2").tobytes()
    item["LUTData"].VR = "OW"
    item.ModalityLUTType = "US"
    stored = GREY_12.astype(">u2" if syntax == making.BIG_ENDIAN else "<u2")
    source = plain(stored, syntax=syntax, **deep(12, **{keyword: [item]}))
    expected = entries[(GREY_12.astype(int) - 500).clip(0, 1999)] / ((1 << bits) - 1) * 255
    assert np.abs(dicom.read_photograph(source).pixels - _rgb(expected)).max() <= 0.5


def test_a_window_without_width_is_no_window():
    source = plain(GREY, WindowCenter=100, WindowWidth=0)
    np.testing.assert_array_equal(dicom.read_photograph(source).pixels, _rgb(GREY))


def test_an_empty_table_is_no_table():
    """Found in real files."""
    source = plain(GREY, VOILUTSequence=[pydicom.Dataset()], ModalityLUTSequence=[pydicom.Dataset()])
    np.testing.assert_array_equal(dicom.read_photograph(source).pixels, _rgb(GREY))


def test_bits_that_are_not_of_the_sample_are_ignored():
    """8 bits stored in the middle of 16, overlays and dirt around them."""
    stored = (GREY.astype(np.uint16) << 4) | 0xF00A
    source = plain(stored, BitsAllocated=16, BitsStored=8, HighBit=11)
    np.testing.assert_array_equal(dicom.read_photograph(source).pixels, _rgb(GREY))


def test_signed_bits_below_the_high_ones():
    source = plain(SIGNED_12.astype(np.uint16) & 0x0FFF, **deep(12, PixelRepresentation=1))
    expected = _full_scale(SIGNED_12, -2048, 2047)
    assert np.abs(dicom.read_photograph(source).pixels - expected).max() <= 0.5


def _palette(colours, count, first, bits, dtype, **more):
    names = {name: colours[:, channel] for channel, name in enumerate(("Red", "Green", "Blue"))}
    elements = {f"{name}PaletteColorLookupTableDescriptor": [count, first, bits] for name in names}
    elements |= {f"{name}PaletteColorLookupTableData": table.astype(dtype).tobytes() for name, table in names.items()}
    return {"PhotometricInterpretation": "PALETTE COLOR"} | elements | more


ENTRIES = np.random.default_rng(0).integers(0, 256, (200, 3))
INDICES = (X + Y).astype(np.uint8)  # 0 to 138
PALETTES = {
    "8 bits": (_palette(ENTRIES, 200, 0, 8, "u1"), 0),
    "16 bits": (_palette(ENTRIES * 257, 200, 0, 16, "<u2"), 0),
    "8 bits in words": (_palette(ENTRIES, 200, 0, 8, "<u2"), 0),
    "8 bits in words that call themselves 16": (_palette(ENTRIES, 200, 0, 16, "<u2"), 0),
    "from 100 on": (_palette(ENTRIES, 200, 100, 16, "<u2") | _palette(ENTRIES * 257, 200, 100, 16, "<u2"), 100),
    "one channel dark": (_palette(ENTRIES * [257, 257, 0] + [0, 0, 200], 200, 0, 16, "<u2"), 0),
    "short": (_palette(ENTRIES[:50] * 257, 50, 0, 16, "<u2"), 0),
}


@pytest.mark.parametrize(("elements", "first"), PALETTES.values(), ids=PALETTES)
def test_palette(elements, first):
    last = elements["RedPaletteColorLookupTableDescriptor"][0] - 1
    expected = ENTRIES[(INDICES.astype(int) - first).clip(0, last)]
    if elements["BluePaletteColorLookupTableData"] == np.full(200, 200, "<u2").tobytes():
        expected = expected * [1, 1, 0]
    for source in (plain(INDICES, **elements), make([rle_stream(INDICES)], INDICES.shape, making.RLE, **elements)):
        np.testing.assert_array_equal(dicom.read_photograph(source).pixels, expected)


def test_palette_of_16_bit_indices_and_8_bit_entries():
    entries = np.arange(3000)[:, None] % np.array([256, 200, 100])
    indices = (40 * X).astype(np.uint16)  # up to 3160
    source = plain(indices, **deep(16, **_palette(entries, 3000, 0, 8, "u1")))
    np.testing.assert_array_equal(dicom.read_photograph(source).pixels, entries[indices.clip(0, 2999)])


def test_palette_in_a_big_endian_file():
    source = plain(INDICES, syntax=making.BIG_ENDIAN, **_palette(ENTRIES * 257, 200, 0, 16, ">u2"))
    np.testing.assert_array_equal(dicom.read_photograph(source).pixels, ENTRIES[INDICES])


def test_segmented_palette():
    """A discrete segment of two, then a straight one of 254 (PS3.3 C.7.9.2)."""
    segments = np.array([0, 2, 0, 1000, 1, 254, 65535], "<u2").tobytes()
    elements = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        elements[f"Segmented{name}PaletteColorLookupTableData"] = segments
    table = np.concatenate([[0, 1000], np.linspace(1000, 65535, 255)[1:]]) / 256
    difference = dicom.read_photograph(plain(INDICES, **elements)).pixels - _rgb(table[INDICES])
    assert np.abs(difference).max() <= 1


def test_a_frame_may_have_its_own_window():
    def group(center):
        window = pydicom.Dataset()
        window.WindowCenter, window.WindowWidth = center, 800
        item = pydicom.Dataset()
        item.FrameVOILUTSequence = [window]
        return item

    source = make(
        np.stack([GREY_12, GREY_12]).tobytes(), GREY_12.shape, NumberOfFrames=2,
        **deep(12, PerFrameFunctionalGroupsSequence=[group(1000), group(3000)]),
    )  # fmt: skip
    for frame, center in enumerate((1000, 3000)):
        expected = (((GREY_12 - (center - 0.5)) / 799 + 0.5) * 255).clip(0, 255)
        assert np.abs(dicom.read_photograph(source, frame=frame).pixels - _rgb(expected)).max() <= 0.5
