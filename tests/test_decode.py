"""Decoding at a scale and in a window, where the sizes of the images are known beforehand."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from .conftest import SIZE, jpeg

tf = pytest.importorskip("tensorflow")


def picture(height, width):
    """uint8[height,width,3] that is red by row and green by column."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * y // height, 255 * x // width, np.full_like(x, 90)], -1).astype(np.uint8)


SIZES = [(40, 40), (64, 64), (128, 128), (130, 200), (301, 257), (512, 512), (1, 1), (7, 90), (600, 1000)]


@pytest.mark.parametrize("side", [32, 64, 100])
def test_known_sizes_change_no_pixel(side):
    from melanoma_tf.data.decode import Decoder, decode_jpeg

    decoder = Decoder(np.array(SIZES, np.int32), side)
    for position, size in enumerate(SIZES):
        data = tf.constant(jpeg(picture(*size)))
        np.testing.assert_array_equal(decoder(data, position), decode_jpeg(data, side), err_msg=str(size))


@pytest.mark.parametrize("size", SIZES)
def test_a_central_crop_is_the_middle_of_the_image(size):
    from melanoma_tf.data.decode import Decoder

    image = picture(*size)
    got = Decoder(np.array([size], np.int32), 32, crop=0.5)(tf.constant(jpeg(image)), 0).numpy()
    assert got.shape == (32, 32, 3)
    if min(size) >= 40:
        edges = [(got[0, 16, 0], 0.25), (got[-1, 16, 0], 0.75), (got[16, 0, 1], 0.25), (got[16, -1, 1], 0.75)]
        for value, place in edges:
            assert abs(value - 255 * place) < 12, (value, place)


@pytest.mark.parametrize(("draw", "top", "left"), [((0, 0), 0, 0), ((0.9999, 0.9999), 32, 32), ((0.0, 0.5), 0, 16)])
def test_a_crop_at_full_scale_is_cut_from_the_decoded_image(draw, top, left):
    from melanoma_tf.data.decode import Decoder

    data = jpeg(picture(64, 64))
    whole = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    decoder = Decoder(np.array([[64, 64]], np.int32), 32, crop=0.5)
    got = decoder(tf.constant(data), 0, lambda: tf.constant(draw, tf.float32)).numpy()
    # libjpeg smooths colour over the window's border differently than inside the picture.
    np.testing.assert_allclose(got[1:-1, 1:-1], whole[top : top + 32, left : left + 32][1:-1, 1:-1], atol=4)


def test_crops_of_an_epoch_are_a_function_of_seed_and_epoch(competition_original):
    from melanoma_tf.data.image_set import load_image_set
    from melanoma_tf.data.pipeline import train_dataset

    images = load_image_set(competition_original, competition_original / "train.csv", "train", target=True)
    rows, repeats = np.arange(48), np.where(np.arange(48) == 5, 3, 1)

    def epoch(**options):
        options = {
            "image_size": SIZE,
            "batch_size": 5,
            "seed": 1,
            "epoch": 0,
            "crop": 0.6,
            "repeats": repeats,
        } | options
        found = list(train_dataset(images, rows, **options).unbatch().as_numpy_iterator())
        return np.array([one["row"] for one in found]), np.array([one["image"] for one in found])

    order, pixels = epoch()
    assert (order == 5).sum() == 3
    first, second, third = pixels[order == 5]
    assert (first != second).any() and (second != third).any() and (first != third).any()
    for again in (epoch(), epoch(start_step=2)):
        np.testing.assert_array_equal(again[1], pixels[-len(again[1]) :])
    other_order, other = epoch(epoch=1)
    same_image = (pixels[order == 7], other[other_order == 7])
    assert (same_image[0] != same_image[1]).any()


def cmyk(*color):
    buffer = io.BytesIO()
    Image.new("CMYK", (90, 70), color).save(buffer, "JPEG")
    return buffer.getvalue()


def test_grey_cmyk_and_progressive_images_become_rgb():
    from melanoma_tf.data.decode import decode_jpeg
    from melanoma_tf.data.index import jpeg_size

    grey, progressive = jpeg(np.full((70, 90), 77, np.uint8)), jpeg(picture(70, 90), progressive=True)
    for data in (grey, progressive, cmyk(10, 20, 30, 40)):
        assert jpeg_size(data) == (70, 90)
    assert np.abs(decode_jpeg(tf.constant(grey), 32).numpy() - 77.0).max() <= 1
    np.testing.assert_allclose(decode_jpeg(tf.constant(progressive), 32)[16, 16], [127, 127, 90], atol=4)
    ink = [(255 - color) * (255 - 40) / 255 for color in (10, 20, 30)]
    np.testing.assert_allclose(decode_jpeg(tf.constant(cmyk(10, 20, 30, 40)), 32)[16, 16], ink, atol=2)


def test_threads_decode_alike():
    from melanoma_tf.data.decode import decode_jpeg

    data = tf.constant(jpeg(picture(301, 257)))
    want = decode_jpeg(data, 64).numpy()
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: decode_jpeg(data, 64).numpy(), range(32)):
            np.testing.assert_array_equal(got, want)
