"""How an image looks beside the patient's others, from embeddings of all of them."""

from __future__ import annotations

import numpy as np

from melanoma_tf.context.others import Others

TEMPERATURE = 0.1  # of the attention, in cosines: an image that is alike by 0.1 more weighs e times as much
DECIMALS = 9  # of distances that are ranked: rounding must not decide between two images that are equally far apart


def beside_others(patients: np.ndarray, directions: np.ndarray, position: np.ndarray) -> dict[str, np.ndarray]:
    """Distances of each image to the patient's other images, and what the images alike score; float64[N] each, NaN for
    a patient's only image.

    from_others: 1 - cosine to the mean of the others' directions. from_nearest: to the nearest of them.
    stands_out: share of the others that are less far from their own others, ties half.
    attended: mean position of the others, weighted by a softmax of their cosines over TEMPERATURE: dot-product
    attention (Vaswani et al. 2017, arXiv 1706.03762, equation 1) without learned projections.

    Args: patients: [N] labels. directions: float[N,D], or 0 (1 from everything). position: float64[N].
    Distances are taken within a patient only: another patient's may be of another model, in a space of its own.
    """
    names = ("from_others", "from_nearest", "attended")
    columns = {name: np.full(len(position), np.nan) for name in names}
    _, patient = np.unique(np.asarray(patients, str), return_inverse=True)
    order = np.argsort(patient, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(patient))[:-1]):
        if len(rows) > 1:
            for name, values in zip(names, _within_patient(directions[rows], position[rows])):
                columns[name][rows] = values
    less_far = 1 - Others(patient, np.round(columns["from_others"], DECIMALS)).share_above()
    return columns | {"stands_out": less_far}


def _within_patient(directions: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to the mean of the others and to the nearest, and the attended position, of 2 and more images."""
    directions = directions.astype(np.float64)
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)  # float32's 1 is not quite 1
    cosine = directions @ directions.T
    own = np.diagonal(cosine).copy()
    to_sum = cosine.sum(axis=1) - own
    length = np.sqrt(np.maximum(cosine.sum() - 2 * to_sum - own, 0.0))  # of the sum of the others
    to_mean = np.divide(to_sum, length, out=np.zeros_like(length), where=length > 1e-6)
    np.fill_diagonal(cosine, -np.inf)
    weight = np.exp((cosine - cosine.max(axis=1, keepdims=True)) / TEMPERATURE)
    return 1 - to_mean, 1 - cosine.max(axis=1), weight @ position / weight.sum(axis=1)
