"""Embeddings of images, of any network: the .npz that carries them, and the directions that are compared."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from melanoma_tf import files
from melanoma_tf.errors import UserError


def read_embeddings(path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
    """Names and float[N,D] of an .npz: its one array of texts and its one array of two dimensions, whatever their keys.

    Raises: UserError that says what the file holds instead.
    """
    try:
        with files.open_read(path) as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except FileNotFoundError as error:
        raise UserError(f"no file {path}: expected an .npz with names and embeddings") from error
    except (OSError, ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is no .npz of plain arrays (names as text, not as objects)") from error
    texts = [array for array in arrays.values() if array.ndim == 1 and array.dtype.kind in "US"]
    matrices = [array for array in arrays.values() if array.ndim == 2 and array.dtype.kind == "f"]
    if len(texts) != 1 or len(matrices) != 1 or len(texts[0]) != len(matrices[0]):
        held = ", ".join(f"{key} {array.dtype}{list(array.shape)}" for key, array in arrays.items()) or "nothing"
        raise UserError(f"{path} must hold names, text[N], and embeddings, float[N,D]; it holds {held}")
    names = [str(name, "utf-8") if isinstance(name, bytes) else str(name) for name in texts[0]]
    if len(set(names)) < len(names):
        raise UserError(f"{path} names an image more than once; names must be unique")
    if not np.isfinite(matrices[0]).all():
        row = int(np.argmin(np.isfinite(matrices[0]).all(axis=1)))
        raise UserError(f"{path}: the embedding of {names[row]} holds a value that is not finite")
    return names, matrices[0]


def write_embeddings(path: str | os.PathLike, names: Sequence[str] | np.ndarray, embeddings: np.ndarray) -> None:
    """What `read_embeddings` reads: `names`, text[N], and `embeddings`, float[N,D]."""
    with files.open_whole(path) as file:
        np.savez(file, names=np.asarray(names, str), embeddings=embeddings)


def centred_directions(embeddings: np.ndarray) -> np.ndarray:
    """Unit vectors, float32[N,D], of the embeddings without their mean: products are cosines. 0 for what is the mean.

    Features behind a ReLU all point into one corner; their mean is most of every cosine.
    """
    centred = np.asarray(embeddings, np.float32) - np.mean(embeddings, axis=0, dtype=np.float64).astype(np.float32)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)


def directions_of(image_name: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """`centred_directions` of a whole file, of them those of `image_name`, float32[len(image_name),D].

    Raises: UserError as `read_embeddings`, and naming an image that the file lacks.
    """
    names, embeddings = read_embeddings(path)
    position = pd.Index(names).get_indexer(np.asarray(image_name, object))
    missing = np.asarray(image_name, object)[position < 0]
    if len(missing):
        raise UserError(f"{path} has no embedding of {missing[0]} ({len(missing)} of {len(position)} images lack one)")
    return centred_directions(embeddings)[position]
