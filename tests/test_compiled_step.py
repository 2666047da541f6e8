"""The whole training step as one XLA program, which is what a TPU makes of it, gives the losses of the plain one.

XLA ignores the seeds of stateful ops and knows no kernel for some others: a step that agrees here has none of them.
"""

import numpy as np
import pytest

from .conftest import TINY
from .test_precision import batch

tf = pytest.importorskip("tensorflow")

from melanoma_tf import config as configuration  # noqa: E402 - needs TensorFlow
from melanoma_tf.keras_compat import keras  # noqa: E402
from melanoma_tf.train.step import build_train_step, step_seed  # noqa: E402
from melanoma_tf.train.trainee import build_trainee  # noqa: E402

SETTINGS = {
    "augmentation, average and lookahead": ["train.ema=0.9", "train.lookahead_steps=2", "augment.hair=0.5"],
    "in parts, uphill, erased and mixed": ["train.accumulation=2", "train.sam_rho=0.1", "augment.cutmix=0.5"],
    "computed again in 16 bits": ["train.precision=mixed_bfloat16", "model.rematerialize=true"],
    "several heads": ["model.target=diagnosis9", "train.loss=categorical_cross_entropy", "model.auxiliary=site,age"],
}


def losses(settings, compiled):
    recipe = configuration.override(configuration.load_recipe("demo"), [*TINY, "model.dropout=0.3", *settings])
    keras.utils.set_random_seed(3)
    model, optimizer, followers = build_trainee(recipe)
    step = build_train_step(tf.distribute.get_strategy(), model, optimizer, recipe, followers.values())
    run = tf.function(step, jit_compile=True) if compiled else step
    given = batch()
    if "model.target=diagnosis9" in settings:
        given["target"] = tf.one_hot(tf.range(8), 9)
        given["meta"] = tf.ones_like(given["meta"])
    return [float(run(given, tf.constant(step_seed(0, "0", n)), tf.constant(0.01))) for n in range(3)]


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_the_whole_step_compiles_and_gives_the_same_losses(settings):
    rtol = 5e-3 if "train.precision=mixed_bfloat16" in settings else 1e-4
    np.testing.assert_allclose(losses(settings, True), losses(settings, False), rtol=rtol)
