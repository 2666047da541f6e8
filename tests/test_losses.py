"""Every loss of the table: golden values as arithmetic, references, and what stays finite."""

import dataclasses
import math

import numpy as np
import pytest

from melanoma_tf.config import TrainConfig
from melanoma_tf.errors import UserError

tf = pytest.importorskip("tensorflow")

from melanoma_tf.losses import (  # noqa: E402
    LOSSES,
    SEVERAL_CLASSES,
    binary_cross_entropy,
    categorical_cross_entropy,
    categorical_focal,
    focal,
    get_loss,
    pairwise_auc,
)

PLAIN = TrainConfig(label_smoothing=0.0)


def values(loss, target, logits, settings=PLAIN):
    return loss(tf.constant(target, tf.float32), tf.constant(logits, tf.float32), settings).numpy()


def several(name):
    return name in SEVERAL_CLASSES


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_every_loss_and_its_gradient_is_finite_for_huge_logits(name, gamma):
    sizes = np.array([-1e4, -200.0, -1.0, 0.0, 1.0, 200.0, 1e4], np.float32)
    width = 3 if several(name) else 1
    logits = np.stack([np.roll(sizes, shift) for shift in range(width)], axis=1)
    logits = tf.constant(np.concatenate([logits, logits]))
    target = np.zeros((14, width), np.float32)
    target[:7, 0] = 1
    target[7:, -1] = 1 if several(name) else 0
    settings = TrainConfig(loss=name, focal_gamma=gamma)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = get_loss(settings, width)(tf.constant(target), logits)
    assert losses.shape == (14,) and np.isfinite(losses).all() and (losses.numpy() >= 0).all()
    assert np.isfinite(tape.gradient(losses, logits)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_compiles_and_learns_the_truth(name):
    """A few steps of gradient descent put melanoma before the rest."""
    width = 3 if several(name) else 1
    target = np.zeros((6, width), np.float32)
    target[:2, 0] = 1
    if several(name):
        target[2:4, 1], target[4:, 2] = 1, 1
    loss = get_loss(TrainConfig(loss=name), width)

    @tf.function(jit_compile=True)
    def step(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            total = tf.reduce_sum(loss(tf.constant(target), logits))
        return logits - tape.gradient(total, logits), total

    logits = tf.zeros([6, width])
    logits, first = step(logits)
    for _ in range(20):
        logits, last = step(logits)
    assert last < first and logits.numpy()[:2, 0].min() > logits.numpy()[2:, 0].max()


def test_binary_cross_entropy_by_hand():
    got = values(binary_cross_entropy, [[1], [0]], [[0.0], [2.0]])
    np.testing.assert_allclose(got, [math.log(2), math.log(1 + math.exp(2))], rtol=1e-6)
    smoothed = values(binary_cross_entropy, [[1]], [[2.0]], TrainConfig(label_smoothing=0.1))
    miss = math.log(1 + math.exp(-2))
    np.testing.assert_allclose(smoothed, [0.95 * miss + 0.05 * (miss + 2)], rtol=1e-6)
    target, logits = [[1.0], [0.0], [1.0]], [[2.0], [-1.0], [-80.0]]
    theirs = tf.keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1, reduction="none")
    got = values(binary_cross_entropy, target, logits, TrainConfig(label_smoothing=0.1))
    np.testing.assert_allclose(got, theirs(tf.constant(target), tf.constant(logits)), rtol=1e-6)


def test_focal_with_gamma_0_and_alpha_half_is_half_the_cross_entropy():
    target, logits = [[1], [0], [1]], [[0.3], [2.0], [-5.0]]
    settings = dataclasses.replace(PLAIN, focal_gamma=0.0, focal_alpha=0.5)
    np.testing.assert_allclose(
        values(focal, target, logits, settings), 0.5 * values(binary_cross_entropy, target, logits), rtol=1e-6
    )


def test_focal_by_hand():
    """p = 3/4 of a positive: alpha (1/4)^gamma log(4/3)."""
    settings = dataclasses.replace(PLAIN, focal_gamma=3.0, focal_alpha=0.75)
    got = values(focal, [[1], [0]], [[math.log(3)], [math.log(3)]], settings)
    want = [0.75 * (1 / 4) ** 3 * math.log(4 / 3), 0.25 * (3 / 4) ** 3 * math.log(4)]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_categorical_cross_entropy_by_hand():
    """Probabilities 1/2, 1/3, 1/6."""
    logits = np.log([[3.0, 2.0, 1.0]])
    np.testing.assert_allclose(values(categorical_cross_entropy, [[0, 1, 0]], logits), [math.log(3)], rtol=1e-6)
    smoothed = values(categorical_cross_entropy, [[1, 0, 0]], logits, TrainConfig(label_smoothing=0.3))
    np.testing.assert_allclose(smoothed, [0.8 * math.log(2) + 0.1 * math.log(3) + 0.1 * math.log(6)], rtol=1e-6)
    np.testing.assert_allclose(values(categorical_focal, [[0, 1, 0]], logits), [(2 / 3) ** 2 * math.log(3)], rtol=1e-5)


def test_categorical_losses_of_two_classes_are_the_binary_ones():
    target, logits = np.array([[1.0], [0.0], [0.3]]), np.array([[0.7], [-2.0], [4.0]])
    two, both = np.hstack([target, 1 - target]), np.hstack([logits, 0 * logits])
    settings = TrainConfig(label_smoothing=0.1, focal_alpha=0.5)
    np.testing.assert_allclose(
        values(categorical_cross_entropy, two, both, settings),
        values(binary_cross_entropy, target, logits, settings), rtol=1e-5,
    )  # fmt: skip
    # focal: hard truths alone, since a soft one has one p_t there and two here
    hard = dataclasses.replace(settings, label_smoothing=0.0)
    np.testing.assert_allclose(
        values(categorical_focal, two[:2], both[:2], hard), 2 * values(focal, target[:2], logits[:2], hard), rtol=1e-5
    )


def test_positive_weight_multiplies_the_melanomas():
    """tf.nn's weighted cross entropy, where truths are hard."""
    target, logits = tf.constant([[1.0], [0.0], [1.0]]), tf.constant([[0.4], [1.0], [-3.0]])
    settings = dataclasses.replace(PLAIN, positive_weight=7.0)
    want = tf.nn.weighted_cross_entropy_with_logits(target, logits, 7.0)[:, 0]
    np.testing.assert_allclose(get_loss(settings, 1)(target, logits), want, rtol=1e-6)
    several_classes = dataclasses.replace(settings, loss="categorical_cross_entropy")
    truth, logits = tf.constant([[1.0, 0.0], [0.0, 1.0]]), tf.zeros([2, 2])
    np.testing.assert_allclose(get_loss(several_classes, 2)(truth, logits), [7 * math.log(2), math.log(2)], rtol=1e-6)


def test_pairwise_loss_is_the_mean_over_all_pairs():
    random = np.random.default_rng(0)
    score, truth = random.normal(size=9), np.array([1, 0, 0, 1, 0, 0, 0, 1, 0])
    pairs = [
        math.log(1 + math.exp(negative - positive)) for positive in score[truth == 1] for negative in score[truth == 0]
    ]
    losses = values(pairwise_auc, truth[:, None], score[:, None])
    np.testing.assert_allclose(losses.mean(), np.mean(pairs), rtol=1e-5)
    assert losses.shape == (9,) and (losses > 0).all()
    two = np.stack([score, 0 * score], axis=1)  # two classes have the log-odds of the same score
    both = np.stack([truth, 1 - truth], axis=1)
    np.testing.assert_allclose(values(pairwise_auc, both, two), losses, rtol=1e-5)


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_pairwise_loss_of_a_batch_without_pairs_is_zero(truth):
    logits = tf.constant([[1.0], [-1.0], [3.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = pairwise_auc(tf.fill([3, 1], truth), logits, PLAIN)
    assert (losses.numpy() == 0).all() and (tape.gradient(losses, logits).numpy() == 0).all()


@pytest.mark.parametrize(
    "settings, classes, message",
    [
        ({"loss": "focl"}, 1, "did you mean 'focal'"),
        ({"loss": "categorical_cross_entropy"}, 1, "not for the binary target.*binary_cross_entropy, focal, pairwise"),
        ({"loss": "focal"}, 9, "not for 9 classes.*categorical_cross_entropy, categorical_focal, pairwise_auc"),
        ({"loss": "pairwise_auc", "positive_weight": 2.0}, 1, "positive_weight must be 1"),
    ],
)
def test_losses_that_do_not_suit(settings, classes, message):
    with pytest.raises(UserError, match=message):
        get_loss(TrainConfig(**settings), classes)
