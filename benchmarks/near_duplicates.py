"""Whether copies are found among real images, and whether anything else is: plants copies of images of HAM10000.

    python benchmarks/near_duplicates.py --train_csv=train.csv --images=jpeg/train [--planted=100]

Each planted image is made again in every way of COPIES. Per way: the share whose original is found. Then the pairs of
originals, of one patient (in HAM10000: lesion) and of two, which are named, to be looked at. Prints one JSON object
last.
"""

from __future__ import annotations

import argparse
import io
import json
import sys

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from melanoma_tf import tables
from melanoma_tf.audit import neighbours, sketches


def cut(image: Image.Image, share: float) -> Image.Image:
    x, y = (round(share * side) for side in image.size)
    return image.crop((x, y, image.width - x, image.height - y))


def resized(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


def square(image: Image.Image) -> Image.Image:
    return ImageOps.fit(image, (min(image.size),) * 2)


COPIES = {
    "JPEG quality 75": (lambda image: image, 75),
    "JPEG quality 30": (lambda image: image, 30),
    "half the size": (lambda image: resized(image, 0.5), 90),
    "twice the size": (lambda image: resized(image, 2), 90),
    "squeezed to 128x128": (lambda image: image.resize((128, 128)), 90),
    "cut to the middle square": (square, 90),
    "square, mirrored": (lambda image: ImageOps.mirror(square(image)), 90),
    "turned by 90 degrees": (lambda image: image.transpose(Image.Transpose.ROTATE_90), 90),
    "turned by 180 degrees": (lambda image: image.transpose(Image.Transpose.ROTATE_180), 90),
    "brightness +20 %": (lambda image: ImageEnhance.Brightness(image).enhance(1.2), 90),
    "contrast +30 %": (lambda image: ImageEnhance.Contrast(image).enhance(1.3), 90),
    "half the colour": (lambda image: ImageEnhance.Color(image).enhance(0.5), 90),
    "border of 2 % cut off": (lambda image: cut(image, 0.02), 90),
    "border of 5 % cut off": (lambda image: cut(image, 0.05), 90),
}


def encode(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def plant(originals: list[tuple[str, bytes]]):
    """Every original in every way, as (name, file, None)."""
    for name, image in originals:
        opened = Image.open(io.BytesIO(image)).convert("RGB")
        for way, (change, quality) in COPIES.items():
            yield f"{name} {way}", encode(change(opened), quality), None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train_csv", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--planted", type=int, default=100)
    arguments = parser.parse_args()
    table = tables.read_table(arguments.train_csv, target=False)
    images = list(sketches.folder_images([arguments.images], set(table["image_name"])))
    chosen = np.random.default_rng(0).choice(len(images), arguments.planted, replace=False)
    planted = plant([images[row][:2] for row in chosen])
    seen = sketches.look([*images, *planted], len(images) + len(chosen) * len(COPIES))
    pairs = neighbours.near_duplicates(seen.names, seen.sketches)
    found = {(a, b) for a, b, _ in pairs}
    names = [images[row][0] for row in chosen]
    shares = {way: sum((name, f"{name} {way}") in found for name in names) / len(names) for way in COPIES}
    for way, share in shares.items():
        print(f"{way:<26}{share:.2f}")
    patient = table.set_index("image_name")["patient_id"]
    between = [pair for pair in pairs if pair[1] in patient.index]
    apart = [pair for pair in between if patient[pair[0]] != patient[pair[1]]]
    sources = {(a.split()[0], b.split()[0]) for a, b, _ in pairs}
    wrong = sorted((a, b) for a, b in sources if patient[a] != patient[b] and not {(a, b), (b, a)} & found)
    print(f"{len(between)} pairs of originals, {len(apart)} of them of two patients: {apart}")
    print(f"copies found like an image of another patient, where the originals are not: {wrong}")
    print(json.dumps({
        "images": len(images), "planted": len(names), "found": shares, "pairs": len(between), "of_two_patients": apart,
        "wrong_copies": wrong,
    }))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
