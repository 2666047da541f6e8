"""Pooling, dropout masks, auxiliary heads and the way of BatchNorm."""

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from melanoma_tf.config import Config, ModelConfig, TrainConfig
from melanoma_tf.errors import UserError
from melanoma_tf.tables import METADATA_WIDTH, metadata_features

from .conftest import settings

tf = pytest.importorskip("tensorflow")

from melanoma_tf.auxiliary import AUXILIARY, auxiliary_losses  # noqa: E402
from melanoma_tf.keras_compat import keras  # noqa: E402
from melanoma_tf.layers import step_randomness  # noqa: E402
from melanoma_tf.models import backbones, build_model, save_model_weights  # noqa: E402
from melanoma_tf.models.heads import POOLINGS, AttentionPooling, GeneralizedMean  # noqa: E402
from melanoma_tf.train.objective import Objective  # noqa: E402


def make(**options):
    return build_model(ModelConfig(backbone="tiny", **options), 32)


def inputs(count=4):
    random = np.random.default_rng(5)
    return {"image": random.random((count, 32, 32, 3), np.float32), "meta": np.zeros((count, METADATA_WIDTH), "f")}


def tiny_weights(folder):
    """Weights of `tiny` whose averages are not those of a new layer."""
    model, random = backbones.tiny("keras", 0.2, 32), np.random.default_rng(1)
    arrays = {
        f"{layer.name}/{number}": random.uniform(0.1, 1, value.shape).astype(np.float32)
        for layer in model.layers for number, value in enumerate(layer.get_weights())
    }  # fmt: skip
    np.savez(folder / "tiny.npz", **arrays)
    return str(folder / "tiny.npz")


# ---- pooling ---------------------------------------------------------------------------------------------------------


def test_generalized_mean_by_hand():
    features = tf.constant([[[[1.0, 4.0], [2.0, 4.0]], [[3.0, 4.0], [0.0, 4.0]]]])
    layer = GeneralizedMean()
    np.testing.assert_allclose(layer(features), [[((1 + 8 + 27 + 0) / 4) ** (1 / 3), 4]], rtol=1e-5)
    layer.set_weights([np.float32(1)])
    np.testing.assert_allclose(layer(features), [[(1 + 2 + 3 + 0) / 4, 4]], rtol=1e-5)
    layer.set_weights([np.float32(-5)])  # a step too far must not turn the pooling round
    np.testing.assert_allclose(layer(features), [[(1 + 2 + 3 + 0) / 4, 4]], rtol=1e-5)
    layer.set_weights([np.float32(40)])
    np.testing.assert_allclose(layer(features), [[3, 4]], rtol=0.05)


def test_generalized_mean_learns_its_power_below_zero_too():
    layer, features = GeneralizedMean(), tf.constant(np.random.default_rng(0).normal(size=(2, 3, 3, 5)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = layer(features)
    gradients = tape.gradient(pooled, [features, *layer.trainable_weights])
    assert all(np.isfinite(gradient).all() for gradient in gradients) and float(gradients[1]) != 0


def test_attention_starts_as_the_average_and_looks_where_it_learns_to():
    features = tf.constant(np.random.default_rng(0).normal(size=(2, 2, 3, 4)), tf.float32)
    layer = AttentionPooling()
    np.testing.assert_allclose(layer(features), tf.reduce_mean(features, axis=(1, 2)), atol=1e-6)
    layer.set_weights([np.float32([[1000], [0], [0], [0]])])
    flat = features.numpy().reshape(2, 6, 4)
    np.testing.assert_allclose(layer(features), flat[[0, 1], flat[:, :, 0].argmax(axis=1)], atol=1e-4)
    layer.set_weights([np.float32([[0], [0.5], [0], [0]])])
    share = np.exp(flat[0, :, 1] / 2) / np.exp(flat[0, :, 1] / 2).sum()
    np.testing.assert_allclose(layer(features)[0], share @ flat[0], atol=1e-5)


# ---- dropout, BatchNorm ----------------------------------------------------------------------------------------------


def test_several_masks_are_the_mean_of_their_logits(tmp_path):
    """Each mask is a function of the seed and its name; the first is that of a single one."""
    several, single = make(multi_sample_dropout=4, dropout=0.5), make(dropout=0.5)
    single.set_weights(several.get_weights())
    np.testing.assert_allclose(several(inputs(), training=False), single(inputs(), training=False), atol=1e-6)
    pool = keras.Model(several.inputs, several.get_layer("pool").output)
    with step_randomness(tf.constant([3, 4])):
        features = pool(inputs(), training=True)
        each = [several.get_layer(f"head_dropout{n or ''}")(features, training=True).numpy() for n in range(4)]
    with step_randomness(tf.constant([3, 4])):
        got = several(inputs(), training=True)
    assert len({(mask == 0).tobytes() for mask in each}) == 4
    kernel, bias = several.get_layer("logits").get_weights()
    np.testing.assert_allclose(got, np.mean([mask @ kernel + bias for mask in each], axis=0), atol=1e-5)


def test_frozen_batch_norm_trains_as_it_predicts_and_nothing_of_it_changes(tmp_path):
    weights = tiny_weights(tmp_path)
    frozen, free = (make(weights=weights, batch_norm=name, dropout=0.0) for name in ("frozen", "train"))
    free.set_weights(frozen.get_weights())
    norms = [layer for layer in frozen.get_layer("tiny").layers if "bn" in layer.name]
    before = [value for layer in norms for value in layer.get_weights()]
    np.testing.assert_allclose(frozen(inputs(), training=True), frozen(inputs(), training=False), rtol=1e-5, atol=1e-6)
    assert np.abs(free(inputs(), training=True) - free(inputs(), training=False)).max() > 1e-3
    for value, after in zip(before, [value for layer in norms for value in layer.get_weights()]):
        np.testing.assert_array_equal(value, after)
    assert len(norms) == 3 and not any(layer.trainable_weights for layer in norms)
    assert len(frozen.trainable_weights) == len(free.trainable_weights) - 6


def test_frozen_batch_norm_needs_weights():
    with pytest.raises(UserError, match=r"model\.batch_norm is frozen, which needs model\.weights"):
        make(batch_norm="frozen")


def test_momentum_of_batch_norm():
    """The average after one batch is momentum * 0 + (1 - momentum) * mean."""
    means = []
    for momentum in (0.0, 0.5):
        keras.utils.set_random_seed(1)
        model = make(batch_norm_momentum=momentum)
        model(inputs(), training=True)
        means.append(model.get_layer("tiny").get_layer("tiny_bn0").get_weights()[2])
    np.testing.assert_allclose(means[1], means[0] * (1 - 0.5) / (1 - 0.9), rtol=1e-4)


# ---- auxiliary heads -------------------------------------------------------------------------------------------------


def meta_of(sex, site, age):
    return metadata_features(pd.DataFrame({"sex": [sex], "anatom_site_general_challenge": [site], "age_approx": [age]}))


def heads_saying(site=(0.0,) * 6, sex=(0.0, 0.0), age=0.0):
    said = {"auxiliary_site": site, "auxiliary_sex": sex, "auxiliary_age": [age]}
    return {name: tf.constant([value], tf.float32) for name, value in said.items()}


def loss_of(meta, outputs, names=tuple(AUXILIARY)):
    return float(auxiliary_losses(tf.constant(meta), outputs, names)[0])


def test_auxiliary_losses_by_hand():
    meta = meta_of("female", "torso", 80.0)
    assert loss_of(meta, heads_saying(), ["site"]) == pytest.approx(math.log(6))
    assert loss_of(meta, heads_saying(sex=(0.0, math.log(3))), ["sex"]) == pytest.approx(math.log(4 / 3))
    assert loss_of(meta, heads_saying(age=1.0), ["age"]) == pytest.approx(1)  # (0.8 - 0.5) / 0.15 - 1
    total = loss_of(meta, heads_saying())
    assert total == pytest.approx(math.log(6) + math.log(2) + 2**2, rel=1e-5)


def test_what_is_not_known_costs_nothing_and_teaches_nothing():
    missing = np.nan
    assert loss_of(meta_of(missing, missing, missing), heads_saying((1, 2, 3, 4, 5, 6), (3, -3), 9.0)) == 0
    outputs = heads_saying()
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = auxiliary_losses(tf.constant(meta_of("male", missing, missing)), outputs, tuple(AUXILIARY))
    gradient = {name: np.abs(value).max() for name, value in tape.gradient(loss, outputs).items()}
    assert gradient == {"auxiliary_site": 0, "auxiliary_sex": 0.5, "auxiliary_age": 0}
    assert loss_of(meta_of("male", missing, 0.0), heads_saying(), ["age"]) == pytest.approx((0.5 / 0.15) ** 2)


def test_a_mixed_image_counts_what_is_known_by_its_share():
    known, unknown = meta_of("male", "torso", 80.0), meta_of(np.nan, "head/neck", np.nan)
    outputs = heads_saying((1, 0, 0, 2, 0, 0), (1, 0), 0.5)
    mixed = (0.7 * known + 0.3 * unknown).astype(np.float32)
    want = 0.7 * loss_of(known, outputs) + 0.3 * loss_of(unknown, outputs)
    assert loss_of(mixed, outputs) == pytest.approx(want, rel=1e-5)


def test_the_objective_adds_the_weighted_heads_and_keeps_the_target_apart():
    model = ModelConfig(auxiliary="age,site", target="diagnosis3")
    train = TrainConfig(loss="categorical_cross_entropy", label_smoothing=0.0, auxiliary_weight=0.25)
    objective = Objective(Config(model=model, train=train))
    batch = {"target": tf.constant([[0.0, 1.0, 0.0]]), "meta": tf.constant(meta_of("male", "torso", 50.0))}
    outputs = heads_saying(age=2.0) | {"logits": tf.zeros([1, 3])}
    got = objective.losses(objective.truth(batch), outputs)
    np.testing.assert_allclose(got, [math.log(3) + 0.25 * (math.log(6) + 2**2)], rtol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"auxiliary": "site,sexx"}, "no head 'sexx'; did you mean 'sex'"),
        ({"auxiliary": "site", "metadata": True}, "model.metadata=true"),
        ({"pooling": "gen"}, "no pooling 'gen'; did you mean 'gem'"),
        ({"target": "diagnosis"}, "no target 'diagnosis'"),
    ],
)
def test_heads_that_do_not_exist(options, message):
    with pytest.raises(UserError, match=message):
        make(**options)


def test_auxiliary_heads_end_to_end(competition_original, run_command, tmp_path):
    more = settings("train.epochs=1", "model.auxiliary=site,sex,age", "model.pooling=gem", "augment.mixup=1",
                    "model.multi_sample_dropout=2")  # fmt: skip
    arguments = [f"--data_dir={competition_original}", f"--work_dir={tmp_path / 'run'}", "--fold=0", *more]
    code, _, err = run_command("train", "--config=demo", *arguments)
    assert code == 0, err
    assert pd.read_csv(tmp_path / "run" / "oof.csv")["target"].notna().all()


# ---- what stays, and what a fresh process gives ----------------------------------------------------------------------


def test_the_default_head_is_what_it_was():
    model = make(metadata=True)
    assert {layer.name for layer in model.layers} == {
        "image", "meta", "tiny", "pool", "meta_hidden", "image_and_meta", "head_dropout", "logits",
    }  # fmt: skip
    assert [value.shape for value in model.get_weights()[-4:]] == [(10, 32), (32,), (64, 1), (1,)]


FAMILIES = [
    *({"pooling": name} for name in POOLINGS),
    {"target": "diagnosis9", "multi_sample_dropout": 3},
    {"auxiliary": "site,sex,age"},
    {"metadata": True, "target": "diagnosis3", "batch_norm_momentum": 0.9},
]


def flat_outputs(model):
    outputs = model(inputs(2), training=False)
    named = outputs if isinstance(outputs, dict) else {"logits": outputs}
    return {name: np.asarray(value).tolist() for name, value in named.items()}


def test_every_head_gives_the_same_outputs_in_a_fresh_process(tmp_path):
    want = []
    for number, options in enumerate(FAMILIES):
        model = make(**options)
        random = np.random.default_rng(number)
        model.set_weights([random.uniform(0.1, 0.4, value.shape) for value in model.get_weights()])
        save_model_weights(model, tmp_path / f"{number}.weights.h5")
        want.append(flat_outputs(model))
    code = f"""
import json
from tests.test_heads import FAMILIES, flat_outputs, make
from melanoma_tf.models import load_model_weights
for number, options in enumerate(FAMILIES):
    model = make(**options)
    load_model_weights(model, f"{tmp_path}/{{number}}.weights.h5")
    print(json.dumps(flat_outputs(model)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    got = [json.loads(line) for line in done.stdout.splitlines()[-len(FAMILIES) :]]
    for mine, theirs in zip(want, got):
        assert mine.keys() == theirs.keys()
        for name, values in mine.items():
            np.testing.assert_allclose(theirs[name], values, rtol=1e-5, atol=1e-6)
