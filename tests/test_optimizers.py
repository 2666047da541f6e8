"""Optimizers against plain NumPy, against tensorflow-addons, and on several devices."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

from melanoma_tf.config import TrainConfig
from melanoma_tf.errors import UserError

tf = pytest.importorskip("tensorflow")

from melanoma_tf.optimizers import OPTIMIZERS, build_optimizer  # noqa: E402
from melanoma_tf.train.followers import Lookahead  # noqa: E402

STEPS, RATE = 20, 0.02
HAS_ADDONS = importlib.util.find_spec("tensorflow_addons") is not None


def problem():
    """Two named weights, `kernel` and `bias`, and their gradients: logistic regression on fixed numbers."""
    random = np.random.default_rng(3)
    inputs = tf.constant(random.normal(size=(32, 5)), tf.float32)
    target = tf.constant(random.integers(0, 2, (32, 3)), tf.float32)
    size = random.uniform(1, 2, (5, 3)) * random.choice([-1, 1], (5, 3))  # no weight comes near 0 in 20 steps
    kernel = tf.Variable(size.astype(np.float32), name="dense/kernel")
    bias = tf.Variable(np.array([1.5, -1.25, 1.0], np.float32), name="dense/bias")

    def gradients():
        with tf.GradientTape() as tape:
            logits = inputs @ kernel + bias
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, logits))
        return tape.gradient(loss, [kernel, bias])

    return [kernel, bias], gradients


def descend(optimizer, steps=STEPS, rates=None, lookahead=None):
    """float64[steps, 18]: kernel and bias after every step. lookahead: its steps and rate."""
    weights, gradients = problem()
    optimizer.build(weights)
    follower = Lookahead(SimpleNamespace(trainable_variables=weights), optimizer, *lookahead) if lookahead else None
    path = []
    for number in range(steps):
        optimizer.learning_rate.assign(RATE if rates is None else rates[number])
        optimizer.apply_gradients(zip(gradients(), weights))
        if follower:
            follower.after_update()
        path.append(np.concatenate([weight.numpy().ravel() for weight in weights]))
    return np.array(path, np.float64)


def config(name, decay=0.0, **more):
    return TrainConfig(optimizer=name, learning_rate=RATE, weight_decay=decay, **more)


def by_hand(change, decay_apart=0.0):
    """The path of `change(mean, square, gradient step t, weight, is_bias)`, in float64."""
    weights, gradients = problem()
    values = [weight.numpy().astype(np.float64) for weight in weights]
    mean, square = [0.0, 0.0], [0.0, 0.0]
    path = []
    for step in range(1, STEPS + 1):
        for weight, value in zip(weights, values):
            weight.assign(value)
        for i, gradient in enumerate(gradients()):
            gradient = gradient.numpy().astype(np.float64)
            mean[i] = 0.9 * mean[i] + 0.1 * gradient
            square[i] = 0.999 * square[i] + 0.001 * gradient**2
            kept = 1.0 if i else 1.0 - RATE * decay_apart
            step_taken = change(mean[i] / (1 - 0.9**step), square[i] / (1 - 0.999**step), step, values[i], bool(i))
            values[i] = kept * values[i] - RATE * step_taken
        path.append(np.concatenate([value.ravel() for value in values]))
    return np.array(path)


def rectified(mean, square, step, weight, is_bias):
    length = 1999 - 2 * step * 0.999**step / (1 - 0.999**step)
    if length < 5:
        return mean
    factor = ((length - 4) * (length - 2) * 1999 / (1995 * 1997 * length)) ** 0.5
    return factor * mean / (square**0.5 + 1e-7)


def layer_adapted(mean, square, step, weight, is_bias):
    change = mean / (square**0.5 + 1e-6)
    if is_bias:
        return change
    change = change + 0.1 * weight
    return change * np.linalg.norm(weight) / np.linalg.norm(change)


def test_rectified_adam_is_the_papers():
    np.testing.assert_allclose(descend(build_optimizer(config("radam", 0.1))), by_hand(rectified, 0.1), rtol=1e-4)


def test_lamb_is_the_papers():
    np.testing.assert_allclose(descend(build_optimizer(config("lamb", 0.1))), by_hand(layer_adapted), rtol=1e-5)


def test_lamb_leaves_a_weight_of_zeros_its_adam_step():
    from melanoma_tf.optimizers.adaptive import Lamb

    weight = tf.Variable(tf.zeros([2]), name="kernel")
    optimizer = Lamb(RATE)
    optimizer.build([weight])
    optimizer.apply_gradients([(tf.constant([3.0, -3.0]), weight)])
    np.testing.assert_allclose(weight.numpy(), [-RATE, RATE], rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_saved_optimizer_goes_on_bit_for_bit(name, tmp_path):
    rates = np.linspace(0.01, 0.05, STEPS)
    whole = descend(build_optimizer(config(name)), rates=rates)
    weights, gradients = problem()
    first, second = build_optimizer(config(name)), build_optimizer(config(name))
    for optimizer in (first, second):
        optimizer.build(weights)
    for rate in rates[:7]:
        first.learning_rate.assign(rate)
        first.apply_gradients(zip(gradients(), weights))
    path = tf.train.Checkpoint(optimizer=first).save(str(tmp_path / "state"))
    tf.train.Checkpoint(optimizer=second).restore(path).assert_existing_objects_matched()
    for rate in rates[7:]:
        second.learning_rate.assign(rate)
        second.apply_gradients(zip(gradients(), weights))
    assert np.array_equal(np.concatenate([weight.numpy().ravel() for weight in weights]), whole[-1].astype(np.float32))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_gradient_is_clipped_by_its_global_norm(name):
    """With so small a limit the path depends on it, and does not once the limit is out of reach."""
    free = descend(build_optimizer(config(name)))
    np.testing.assert_allclose(descend(build_optimizer(config(name, clip_norm=1e6))), free, rtol=1e-6)
    assert np.abs(descend(build_optimizer(config(name, clip_norm=1e-8))) - free).max() > 1e-4


@pytest.mark.skipif(HAS_ADDONS, reason="tensorflow-addons is installed")
def test_an_addon_elsewhere_says_what_is_missing():
    with pytest.raises(UserError, match=r"needs tensorflow-addons, .* here is TensorFlow 2.*radam, lamb"):
        build_optimizer(config("tfa:RectifiedAdam"))


@pytest.fixture
def tfa():
    return pytest.importorskip("tensorflow_addons", exc_type=ImportError)


def of_addons(tfa, name, **options):
    kind = getattr(tfa.optimizers, name)
    return type(name, (kind,), {"build": lambda self, weights: self._create_all_weights(weights)})(**options)


APART = ["bias", "gamma", "beta"]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rectified_adam_equals_addons_step_by_step(tfa, decay):
    """tfa's decays every weight, so ours is told to do so too."""
    theirs = descend(of_addons(tfa, "RectifiedAdam", learning_rate=RATE, weight_decay=decay))
    ours = build_optimizer(config("radam", decay))
    ours.exclude_from_weight_decay(var_names=[])
    np.testing.assert_allclose(descend(ours), theirs, rtol=1e-5)


def test_lamb_equals_addons_step_by_step(tfa):
    theirs = of_addons(tfa, "LAMB", learning_rate=RATE, weight_decay=0.1, exclude_from_weight_decay=APART)
    np.testing.assert_allclose(descend(build_optimizer(config("lamb", 0.1))), descend(theirs), rtol=1e-5)


@pytest.mark.parametrize("name", ["radam", "tfa:RectifiedAdam"])
def test_lookahead_equals_addons_step_by_step(tfa, name):
    ours = descend(build_optimizer(config(name)), lookahead=(5, 0.3))
    inner = of_addons(tfa, "RectifiedAdam", learning_rate=RATE)
    theirs = descend(of_addons(tfa, "Lookahead", optimizer=inner, sync_period=5, slow_step_size=0.3))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert np.abs(ours - descend(build_optimizer(config(name)))).max() > 0.01


def test_decay_of_addons_is_ours_divided_by_the_learning_rate(tfa):
    theirs = of_addons(tfa, "AdamW", learning_rate=RATE, weight_decay=0.002, exclude_from_weight_decay=APART)
    np.testing.assert_allclose(descend(build_optimizer(config("adamw", 0.002 / RATE))), descend(theirs), rtol=1e-5)


def test_optimizers_of_addons_by_name(tfa):
    from melanoma_tf.optimizers import addons

    offered = set(addons._offered())
    assert {"RectifiedAdam", "LAMB", "AdamW", "SGDW", "NovoGrad", "AdaBelief", "Yogi", "LazyAdam"} <= offered
    assert not {"Lookahead", "SWA", "MovingAverage", "MultiOptimizer", "CyclicalLearningRate"} & offered
    for name in offered:
        path = descend(build_optimizer(config(f"tfa:{name}")), steps=3)
        assert np.isfinite(path).all() and np.abs(path[2] - path[0]).max() > 0, name
    same = descend(of_addons(tfa, "RectifiedAdam", learning_rate=RATE))
    assert np.array_equal(descend(build_optimizer(config("tfa:RectifiedAdam"))), same)


@pytest.mark.parametrize(
    ("name", "decay", "said"),
    [
        ("tfa:RectifedAdam", 0.0, "did you mean 'RectifiedAdam'"),
        ("tfa:Lookahead", 0.0, "no 'Lookahead' that could be built"),
        ("tfa:Yogi", 0.1, "weight_decay is 0.1 but tfa:Yogi has none"),
    ],
)
def test_addons_that_do_not_fit_are_errors(tfa, name, decay, said):
    with pytest.raises(UserError, match=said):
        build_optimizer(config(name, decay))
