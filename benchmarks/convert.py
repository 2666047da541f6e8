"""Speed and memory of `tfrecord-tools convert` beside the usual script and beside the least that anything must do.

    python benchmarks/convert.py --images=24 --rounds=3

Draws 6000x4000 JPEG-baseline YBR_FULL_422 DICOM photographs of about 2.5 MB, as the challenge's 44,108 are on average,
and makes shards of 1024x1024 JPEGs of quality 95 from them by
  conventional  pydicom's pixel_array, OpenCV's area resize of the central square, OpenCV's JPEG, a TFRecord file;
  floor         of a JPEG in memory: libjpeg-turbo's smallest scale above 1024, OpenCV's area resize, libjpeg-turbo;
  ours          `tfrecord_tools.convert.convert` with one worker, and with two.
They take turns, each in a process of its own with one thread, warmed up. The JSON object on the last line holds medians
over the rounds:
  ratio_conventional  CPU time an image of the usual script over ours, at least 15;
  ratio_floor         CPU time of ours over the floor's, at most 1.5;
  scaling_2           images/s of two workers over one, at least 1.8; without the start of the processes, once a
                      conversion, which `start_seconds` tells;
  peak_rss_mb         the most memory that any process of ours had resident, at most 400.
Needs the extras [dicom,dev] and 0.1 GB of disk; takes about two minutes on two cores.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

SIZE, QUALITY = 1024, 95
WIDTH, HEIGHT = 6000, 4000
DRAWN_AT = (1500, 1000)  # pixels; enlarged as much as a real lens blurs
SOURCE_QUALITY = 85
GRAIN = 1.8  # levels; makes the files 2.5 MB
CONVENTIONAL_IMAGES = 2  # per round; they take long, and are all alike
FEW = 16  # images of a conversion from whose time that of the start of the processes is derived
SHARDS = 2


def draw_photographs(folder: str, count: int) -> float:
    """Writes 0.dcm, 1.dcm, ... and returns their mean size in MB: drawn lesions, with grain to the last pixel."""
    import simplejpeg

    from melanoma_tf import dicom

    for number in range(count):
        pixels = draw_pixels(number)
        jpeg = simplejpeg.encode_jpeg(pixels, SOURCE_QUALITY, "RGB", "422")
        dicom.write_photograph(
            Path(folder) / f"{number}.dcm", jpeg, rows=HEIGHT, columns=WIDTH, image_name=str(number), patient_id="1",
            sex="female", age=50.0, site="torso",
        )  # fmt: skip
        say(f"drawing: {number + 1} of {count}, {len(jpeg) / 1e6:.1f} MB")
    return statistics.mean(path.stat().st_size for path in Path(folder).glob("*.dcm")) / 1e6


def draw_pixels(number: int) -> np.ndarray:
    """uint8[4000,6000,3]."""
    from PIL import Image

    random = np.random.default_rng(number)
    picture = Image.fromarray(draw_lesion(number % 4)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    tiles = HEIGHT // DRAWN_AT[1], WIDTH // DRAWN_AT[0]
    grain = np.tile(np.roll(draw_grain(), random.integers(0, min(DRAWN_AT), 2), (0, 1)), tiles)
    return (np.asarray(picture) + grain[..., None]).clip(0, 255).astype(np.uint8)


@functools.cache
def draw_lesion(number: int) -> np.ndarray:
    """uint8[1000,1500,3]."""
    from melanoma_tf.miniature.overlays import draw_photograph
    from melanoma_tf.miniature.skin import draw_patient_look

    random = np.random.default_rng(number)
    return draw_photograph(random, DRAWN_AT, draw_patient_look(random), number % 2)


@functools.cache
def draw_grain() -> np.ndarray:
    """int16[1000,1500] of standard deviation `GRAIN`: noise that a camera has smoothed a little."""
    noise = np.random.default_rng(0).standard_normal(DRAWN_AT[::-1])
    for axis in (0, 1):
        noise = 0.5 * noise + 0.25 * (np.roll(noise, 1, axis) + np.roll(noise, -1, axis))
    return np.rint(GRAIN / noise.std() * noise).astype(np.int16)


def time_conventional(folder: str, count: int) -> float:
    """CPU seconds an image of the usual script."""
    from melanoma_tf.data.shards import write_shard

    paths = [Path(folder) / f"{number}.dcm" for number in range(count)]
    list(conventional_records(paths[:1]))
    with tempfile.TemporaryDirectory() as out:
        return seconds(lambda: write_shard(Path(out) / "train00.tfrec", conventional_records(paths)))[1] / count


def conventional_records(paths: list[Path]) -> Iterator[bytes]:
    import cv2
    import pydicom

    from melanoma_tf import schema

    cv2.setNumThreads(1)
    for path in paths:
        pixels = pydicom.dcmread(path).pixel_array
        start = (WIDTH - HEIGHT) // 2
        small = cv2.resize(pixels[:, start : start + HEIGHT], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        yield schema.encode_record(jpeg.tobytes(), path.stem, 0)


def time_floor(folder: str, count: int) -> float:
    """CPU seconds an image of nothing but a scaled decode, a resize and an encode."""
    import pydicom.encaps

    pixel_data = (pydicom.dcmread(Path(folder) / f"{number}.dcm").PixelData for number in range(count))
    jpegs = [next(pydicom.encaps.generate_frames(data, number_of_frames=1)) for data in pixel_data]
    floor(jpegs[0])
    return seconds(lambda: [floor(jpeg) for jpeg in jpegs])[1] / count


def floor(jpeg: bytes) -> bytes:
    import cv2
    import simplejpeg

    cv2.setNumThreads(1)
    pixels = simplejpeg.decode_jpeg(jpeg, min_width=SIZE, min_height=SIZE)
    height, width = pixels.shape[:2]
    start = (width - height) // 2
    small = cv2.resize(pixels[:, start : start + height], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return simplejpeg.encode_jpeg(small, QUALITY)


def time_ours(folder: str, files: int, count: int, workers: int) -> dict[str, float]:
    """Of conversions of `count` images and of `FEW`, which are links to the `files` drawn ones.

    Returns: seconds, CPU time of this process an image; rate in images/s without the start; start in seconds;
      peak_rss_mb.
    """
    from tfrecord_tools.convert import convert
    from tfrecord_tools.settings import Settings

    def convert_some(number: int) -> tuple[float, float]:
        with tempfile.TemporaryDirectory(dir=folder) as work:
            (Path(work) / "dcm").mkdir()
            for name in range(number):
                os.link(Path(folder) / f"{name % files}.dcm", Path(work) / "dcm" / f"{name}.dcm")
            rows = "".join(f"{name},{name % 2}\n" for name in range(number))
            (Path(work) / "train.csv").write_text("image_name,target\n" + rows)
            settings = Settings(SIZE, "crop", QUALITY, shards=SHARDS)
            run = functools.partial(convert, f"{work}/dcm", f"{work}/train.csv", f"{work}/out", settings)
            return seconds(lambda: require_all(run(workers=workers), number))

    if workers == 1:
        convert_some(1)  # processes of a pool are new each time, so nothing could be warmed up for them
    (few, _), (many, cpu) = convert_some(FEW), convert_some(FEW + count)
    whom = resource.RUSAGE_SELF if workers == 1 else resource.RUSAGE_CHILDREN
    return {
        "seconds": cpu / (FEW + count),
        "rate": count / (many - few),
        "start": few - FEW * (many - few) / count,
        "peak_rss_mb": resource.getrusage(whom).ru_maxrss / 1024,
    }


def require_all(summary, count: int) -> None:
    if summary.images != count:
        raise AssertionError(f"{summary.images} of {count} images were converted")


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of CPU time in this process, which other programs disturb less."""
    start, cpu_start = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start, time.process_time() - cpu_start


def apart(function: Callable, *arguments):
    """Runs a function in a new process, so that neither memory nor caches of one go to the account of another."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measure_round(folder: str, files: int, count: int) -> dict[str, float]:
    conventional = apart(time_conventional, folder, min(files, CONVENTIONAL_IMAGES))
    one = apart(time_ours, folder, files, count, 1)
    floor_seconds = apart(time_floor, folder, files)
    two = apart(time_ours, folder, files, count, 2)
    found = {
        "ratio_conventional": conventional / one["seconds"],
        "ratio_floor": one["seconds"] / floor_seconds,
        "scaling_2": two["rate"] / one["rate"],
        "peak_rss_mb": max(one["peak_rss_mb"], two["peak_rss_mb"]),
        "conventional_seconds": conventional,
        "floor_seconds": floor_seconds,
        "seconds": one["seconds"],
        "images_per_second_1": one["rate"],
        "images_per_second_2": two["rate"],
        "start_seconds": two["start"],
    }
    say(", ".join(f"{name} {value:.3g}" for name, value in found.items()))
    return found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=24, help="files to draw")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--conversions", type=int, default=128, help="images of a timed conversion")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    os.environ |= {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    with tempfile.TemporaryDirectory(prefix="benchmark_convert_") as folder:
        mean_mb = apart(draw_photographs, folder, arguments.images)
        rounds = [measure_round(folder, arguments.images, arguments.conversions) for _ in range(arguments.rounds)]
    medians = {name: round(statistics.median(one[name] for one in rounds), 4) for name in rounds[0]}
    medians["peak_rss_mb"] = max(one["peak_rss_mb"] for one in rounds)
    print(json.dumps(medians | {"rounds": arguments.rounds, "files": arguments.images, "mean_mb": round(mean_mb, 2)}))


if __name__ == "__main__":
    main()
