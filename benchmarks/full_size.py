"""Whether a submission of full size works, and how fast: drawn 1024x1024 test shards for the real tables.

python benchmarks/full_size.py --test_csv=test.csv --sample=sample_submission.csv

Writes 16 shards as the official ones are named and encoded, reads them, predicts with the tiny network at random
weights, writes a submission and checks it against the sample. The last line is a JSON object with the figures. The
pictures are smooth, so smaller than photographs and quicker to decode: the speed is an upper bound. Needs about 0.4 GB
of disk for the 10,982 images of 2020.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import io
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from melanoma_tf import files, schema, submission, tables
from melanoma_tf.data.image_set import ImageSet, load_image_set
from melanoma_tf.data.shards import write_shard
from melanoma_tf.predictions import Predictions

SHARDS = 16
SIDE = 1024
QUALITY = 80
COARSE = 4  # pixels a side of the random picture that is enlarged to SIDE


def draw_jpeg(image_name: str) -> bytes:
    """A smooth picture of its own for every name, 1024x1024."""
    random = np.random.default_rng(list(image_name.encode()))
    coarse = random.integers(40, 216, (COARSE, COARSE, 3), np.uint8)
    buffer = io.BytesIO()
    picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def draw_shard(path: Path, image_names: list[str]) -> int:
    """Writes one shard in the official dialect; returns its size in bytes."""
    write_shard(path, (schema.encode_record(draw_jpeg(name), name) for name in image_names))
    return path.stat().st_size


def draw_shards(folder: Path, image_names: np.ndarray, processes: int) -> int:
    """Writes the test shards of all names, `test00-687.tfrec` and so on; returns their size in bytes."""
    size = -(-len(image_names) // SHARDS)  # 15 of 687 and one of 677 for 10,982 images, as in the official set
    parts = [image_names[first : first + size].tolist() for first in range(0, len(image_names), size)]
    paths = [folder / f"test{number:02d}-{len(part)}.tfrec" for number, part in enumerate(parts)]
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        return sum(pool.map(draw_shard, paths, parts))


def predict(images: ImageSet, image_size: int, batch_size: int) -> Predictions:
    """Every image once through the tiny network, whose weights are random."""
    from melanoma_tf.config import ModelConfig
    from melanoma_tf.data.pipeline import eval_dataset
    from melanoma_tf.distribute import make_strategy
    from melanoma_tf.inference import build_predict_step, predict_rows
    from melanoma_tf.models import build_model
    from melanoma_tf.progress import Progress

    strategy = make_strategy()
    with strategy.scope():
        model = build_model(ModelConfig(backbone="tiny"), image_size)
    step = build_predict_step(strategy, model, None)
    dataset = eval_dataset(images, np.arange(len(images)), image_size=image_size, batch_size=batch_size)
    progress = Progress("reading and predicting", len(images))
    return Predictions(images.names, predict_rows(step, dataset, len(images), progress.update))


def submit(predictions: Predictions, sample_csv: str, path: Path) -> int:
    """Writes the submission, reads it back and checks it; returns its number of rows."""
    sample = tables.read_csv(sample_csv)
    files.write_whole(path, submission.make_submission(predictions, sample))
    checked = submission.check_submission(path, sample)
    expected = predictions.aligned(checked.image_name).probability  # pandas before 3.1 misreads some last bits
    if not np.allclose(checked.probability, expected, rtol=1e-12, atol=0):
        raise AssertionError("the submission does not hold what was predicted")
    return len(checked)


class Stopwatch:
    """Seconds since the former lap, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self.last = round(now - self.last, 2), now


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """The whole line from tables to a checked submission in `folder`, with its figures."""
    watch = Stopwatch()
    names = tables.read_table(arguments.test_csv, target=False)["image_name"].to_numpy(object)
    size = draw_shards(folder, names, arguments.processes)
    watch.lap("draw_shards")
    images = load_image_set(folder, arguments.test_csv, "test", target=False)
    watch.lap("index_shards")
    import tensorflow  # noqa: F401  after the drawing, so that no process is forked from one with TensorFlow's threads

    watch.lap("import_tensorflow")
    predictions = predict(images, arguments.image_size, arguments.batch_size)
    watch.lap("read_and_predict")
    rows = submit(predictions, arguments.sample, folder / "submission.csv")
    watch.lap("submit_and_check")
    return {
        "rows": rows,
        "distinct_probabilities": len(np.unique(predictions.probability)),
        "shards": len(images.index.paths),
        "bytes": size,
        "image_size": arguments.image_size,
        "images_per_second": round(rows / watch.seconds["read_and_predict"], 1),
        "seconds": watch.seconds,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--test_csv", required=True, help="the real test.csv")
    parser.add_argument("--sample", required=True, help="the real sample_submission.csv")
    parser.add_argument("--out", help="folder for shards and submission, kept; without it a temporary one")
    parser.add_argument("--image_size", type=int, default=256, help="side in pixels of what the network sees")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="processes that draw")
    return parser.parse_args()


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    arguments = parse_arguments()
    temporary = tempfile.TemporaryDirectory(prefix="full_size_")
    with contextlib.nullcontext(files.make_folder(arguments.out)) if arguments.out else temporary as folder:
        print(json.dumps(measure(arguments, Path(folder))))


if __name__ == "__main__":
    main()
