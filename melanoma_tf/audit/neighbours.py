"""Pairs of images that are much alike, among tens of thousands: by sketch, and by anybody's embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from melanoma_tf.audit.sketches import SIDE
from melanoma_tf.embeddings import centred_directions
from melanoma_tf.errors import UserError

# Measured on HAM10000 (benchmarks/near_duplicates.py): of 5e7 pairs of two lesions, in 8 orientations, the only ones
# within both limits show one lesion each; every copy made by re-encoding or resizing is within.
MAX_BITS = 38  # of 255 that may differ
MIN_CORRELATION = 0.97  # of the coefficients themselves, which a small dark spot on plain skin fails
MIN_CONTRAST = 2.0  # standard deviation in grey levels; the signs of a plain area are noise
MIN_COSINE = 0.98  # of embeddings, after their mean is taken off
BLOCK = 512
TOO_MANY = 50  # pairs an image, on average: then they are not duplicates, but the images are all the same

Pair = tuple[str, str, float]


def near_duplicates(names: Sequence[str], sketches: np.ndarray) -> list[Pair]:
    """Pairs of images that are copies of each other: resized, compressed again, cut to a square, turned or mirrored.

    Args: sketches float32[N,2,K,K] of `sketches.look`. Returns: names in the order given and the correlation, sorted.
    Hamming distances are matrix products of +1 and -1: float32 is exact there, and fast.
    """
    best: dict[tuple[int, int], float] = {}
    for view in range(sketches.shape[1]):
        plain = sketches[:, view]
        bits, values = _signs(plain), _directions(plain)
        for turned in _orientations(plain):
            turned_bits, turned_values = _signs(turned), _directions(turned)
            for first, second in _close(bits, turned_bits, bits.shape[1] - 2 * MAX_BITS, names):
                alike = np.einsum("nd,nd->n", values[first], turned_values[second])
                for a, b, value in zip(first.tolist(), second.tolist(), alike.tolist()):
                    if value >= MIN_CORRELATION:
                        best[a, b] = max(value, best.get((a, b), 0.0))
    return _named(best, names)


def embedding_neighbours(names: Sequence[str], embeddings: np.ndarray) -> list[Pair]:
    """Pairs whose embeddings, float[N,D] with the mean taken off, have a cosine of at least MIN_COSINE."""
    unit = centred_directions(embeddings)
    best: dict[tuple[int, int], float] = {}
    for first, second in _close(unit, unit, MIN_COSINE, names):
        alike = np.einsum("nd,nd->n", unit[first], unit[second])
        best |= dict(zip(zip(first.tolist(), second.tolist()), alike.tolist()))
    return _named(best, names)


def _orientations(plain: np.ndarray) -> Iterator[np.ndarray]:
    """The coefficients, float32[N,K,K], of the image in its 8 orientations: a mirrored image has the odd frequencies
    of that axis negated, a transposed one has them transposed."""
    sign = np.where(np.arange(plain.shape[-1]) % 2, -1, 1).astype(np.float32)
    for turned in (plain, np.swapaxes(plain, 1, 2)):
        for down in (np.ones_like(sign), sign):
            for across in (np.ones_like(sign), sign):
                yield turned * down[:, None] * across


def _signs(coefficients: np.ndarray) -> np.ndarray:
    """float32[N,K*K-1] of +1 and -1 without the mean brightness; zeros, near to nothing, for an image of one colour."""
    flat = coefficients.reshape(len(coefficients), -1)[:, 1:]
    contrast = np.linalg.norm(flat, axis=1, keepdims=True) / SIDE
    return np.where(flat > 0, 1, -1).astype(np.float32) * (contrast >= MIN_CONTRAST)


def _directions(coefficients: np.ndarray) -> np.ndarray:
    flat = coefficients.reshape(len(coefficients), -1)[:, 1:]
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.divide(flat, lengths, out=np.zeros_like(flat), where=lengths > 0)


def _close(
    one: np.ndarray, other: np.ndarray, least: float, names: Sequence[str]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows a < b with one[a] · other[b] >= least, block by block. Raises UserError where they are far too many."""
    found = 0
    for start in range(0, len(one), BLOCK):
        product = one[start : start + BLOCK] @ other[start:].T
        first, second = np.nonzero(product >= least)
        later = second > first
        found += int(later.sum())
        if found > TOO_MANY * max(len(names), BLOCK):
            such = f"{names[start + first[later][0]]} and {names[start + second[later][0]]}"
            raise UserError(f"more than {found:,} pairs of {len(names):,} images are alike, such as {such}: these are "
                            f"not images, or embeddings, of single lesions")  # fmt: skip
        yield start + first[later], start + second[later]


def _named(best: dict[tuple[int, int], float], names: Sequence[str]) -> list[Pair]:
    return [(names[a], names[b], round(value, 4)) for (a, b), value in sorted(best.items())]
