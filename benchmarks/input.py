"""Reading 1024 px records at 512 and 256 px: the package's input against whole decode and resize in `tf.data`.

    python benchmarks/input.py [--quality=95] [--images=1024] [--rounds=3]
    python benchmarks/input.py --data_dir=SHARDS

From the root of a checkout, on quiet cores. Without --data_dir the records hold 64 drawn lesions with the grain of a
photograph, again and again. The ways take turns, medians count:
  ours    `train_dataset`, shuffled, in batches of 16; its buffer holds a ninth of the records, as 1 GB does of the
          competition's;
  whole   the same records not shuffled, `tf.io.decode_jpeg`, `tf.image.resize` to the same batches;
  smooth  the same with `antialias=True`, without which a smaller image shows what the larger does not hold;
  float   the same as the public notebooks do it: to float32 first, then `tf.image.resize`;
  bare    a loop of nothing but the scaled decode of bytes in memory, on as many threads as cores, by Python's threads
          or by `tf.data`, whichever is faster;
  cache   `train_dataset` from images that are held decoded.
`difference_S` is the mean absolute difference in grey levels between the scaled decode and whole decode with area
resize. The JSON object on the last line holds images/s and ratios; how much the scaled decode can save depends on the
bytes of an image, as the entropy coding of all of them must be read: `kb_per_image`.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from convert import draw_grain, draw_lesion

from melanoma_tf import command_line

SIDE, SHARDS, BATCH, DRAWN, BUFFER_SHARE = 1024, 16, 16, 64, 9
SIZES = (512, 256)


def draw_shards(folder: Path, count: int, quality: int) -> None:
    """Lesions with the grain of a photograph, as records of the official kind."""
    from melanoma_tf import schema
    from melanoma_tf.data.shards import write_shard

    drawn = [draw_jpeg(number, quality) for number in range(min(count, DRAWN))]
    for shard in range(SHARDS):
        numbers = range(shard, count, SHARDS)
        records = (schema.encode_record(drawn[number % DRAWN], f"ISIC_{number:07d}", 0) for number in numbers)
        write_shard(folder / f"train{shard:02d}-{len(numbers)}.tfrec", records)


def draw_jpeg(number: int, quality: int) -> bytes:
    roll = np.random.default_rng(number).integers(0, 1000, 2)
    lesion = Image.fromarray(draw_lesion(number % 4)).crop((250, 0, 1250, 1000)).resize((SIDE, SIDE))
    grain = np.tile(np.roll(draw_grain(), roll, (0, 1)), (2, 1))[:SIDE, :SIDE, None]
    buffer = io.BytesIO()
    Image.fromarray((np.asarray(lesion) + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def build_ways(images) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """What is timed, and the mean differences."""
    from melanoma_tf.data import speed

    buffer = max(round(images.index.bytes_total / BUFFER_SHARE / 2**20), 1)
    ways: dict[str, Callable[[], object]] = {}
    differences = {}
    for size in SIZES:
        stages = speed.stages(images, size, BATCH, shuffle_memory_mb=buffer)
        ways |= {f"ours_{size}": stages["pipeline"], f"whole_{size}": whole(images, size)}
        ways |= {
            f"smooth_{size}": whole(images, size, antialias=True),
            f"float_{size}": whole(images, size, scale=255.0),
        }
        ways |= {f"bare_threads_{size}": stages["decode"], f"bare_map_{size}": bare_map(images, size)}
        if "memory cache" in stages:
            ways[f"cache_{size}"] = stages["memory cache"]
        differences[f"difference_{size}"] = round(statistics.mean(differences_to_area(images, size)), 3)
    return ways, differences


def whole(images, size: int, antialias: bool = False, scale: float = 0.0) -> Callable[[], None]:
    """The usual code: all pixels decoded, divided by `scale` if it is given, then resized."""
    import tensorflow as tf

    from melanoma_tf import schema

    def decode(record):
        jpeg = tf.io.parse_single_example(record, schema.feature_spec())[schema.IMAGE]
        pixels = tf.io.decode_jpeg(jpeg, channels=3)
        if scale:
            return tf.image.resize(tf.cast(pixels, tf.float32) / scale, [size, size])
        return tf.cast(tf.image.resize(pixels, [size, size], antialias=antialias), tf.uint8)

    records = tf.data.TFRecordDataset(list(images.index.paths), num_parallel_reads=tf.data.AUTOTUNE)
    dataset = records.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    return lambda: consume(dataset)


def bare_map(images, size: int) -> Callable[[], None]:
    """The scaled decode alone as `tf.data` runs it, threads as many as cores."""
    import tensorflow as tf

    from melanoma_tf.data import speed

    def decode(jpeg):
        return tf.io.decode_jpeg(jpeg, channels=3, ratio=SIDE // size, dct_method="INTEGER_ACCURATE")

    dataset = tf.data.Dataset.from_tensor_slices(list(jpegs(images))).map(decode, num_parallel_calls=speed.cores())
    return lambda: consume(dataset)


def jpegs(images) -> Iterator[bytes]:
    from melanoma_tf import schema
    from melanoma_tf.data.shards import read_records

    return (schema.decode_record(data)[schema.IMAGE] for path in images.index.paths for _, data in read_records(path))


def differences_to_area(images, size: int, count: int = 32) -> Iterator[float]:
    """Grey levels between what the model gets and the mean of the pixels that it stands for."""
    import tensorflow as tf

    from melanoma_tf.data.decode import decode_jpeg

    for _, jpeg in zip(range(count), jpegs(images)):
        pixels = tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE")
        area = tf.image.resize(pixels, [size, size], method="area")
        yield float(np.abs(decode_jpeg(tf.constant(jpeg), size).numpy() - area.numpy()).mean())


def consume(dataset) -> None:
    for _ in dataset:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default="")
    for name, default in (("quality", 95), ("images", 1024), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    command_line.import_tensorflow_quietly()
    import tensorflow as tf

    from melanoma_tf.data import speed

    with tempfile.TemporaryDirectory() as scratch:
        if not arguments.data_dir:
            draw_shards(Path(scratch), arguments.images, arguments.quality)
        images, _ = speed.sample_shards(arguments.data_dir or scratch, "train", arguments.images)
        ways, differences = build_ways(images)
        rates = speed.measure(ways, len(images), arguments.rounds)
    bare = {size: max(rates[f"bare_threads_{size}"], rates[f"bare_map_{size}"]) for size in SIZES}
    ratios = {
        f"ratio{name}_{size}": round(rates[f"ours_{size}"] / rates[f"{way}_{size}"], 2)
        for size in SIZES
        for name, way in (("", "whole"), ("_smooth", "smooth"), ("_float", "float"))
    }
    print(json.dumps({
        "tensorflow": tf.__version__, "cores": speed.cores(), "images": len(images), "rounds": arguments.rounds,
        "kb_per_image": round(images.index.bytes_total / len(images) / 1e3),
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        **ratios,
        **{f"share_of_bare_decode_{size}": round(rates[f"ours_{size}"] / bare[size], 3) for size in SIZES},
        **{f"ratio_cache_{size}": round(rates[f"cache_{size}"] / rates[f"whole_{size}"], 1) for size in SIZES},
        **differences,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
