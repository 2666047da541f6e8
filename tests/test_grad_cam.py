"""Grad-CAM: the arithmetic, and that a run's own models look at the images that they did not see."""

import json

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from melanoma_tf import config, grad_cam, schema  # noqa: E402
from melanoma_tf.config import ModelConfig  # noqa: E402
from melanoma_tf.data import shards  # noqa: E402
from melanoma_tf.keras_compat import keras  # noqa: E402
from melanoma_tf.models import build_model, save_model_weights  # noqa: E402
from melanoma_tf.predict import load_config, load_fold_model  # noqa: E402
from melanoma_tf.tables import METADATA_WIDTH  # noqa: E402
from tests.report_making import make_picture, make_table, write_run  # noqa: E402


def _model(weights, biases=None):
    """Images [B,4,4,3], of which the map is the image itself; logits are the mean of each channel times weights."""
    image, meta = keras.Input((4, 4, 3), name="image"), keras.Input((METADATA_WIDTH,), name="meta")
    features = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.Conv2D(3, 1, name="backbone")(image))
    logits = keras.layers.Dense(np.shape(weights)[1], name="logits")(features)
    model = keras.Model({"image": image, "meta": meta}, logits)
    model.get_layer("backbone").set_weights([np.eye(3)[None, None], np.zeros(3)])
    model.get_layer("logits").set_weights([np.asarray(weights, float), np.zeros(np.shape(weights)[1])])
    return grad_cam.with_feature_map(model)


def _images():
    images = np.zeros((2, 4, 4, 3), np.float32)
    images[0, 1, 2, 0], images[0, 3, 3, 0], images[0, 0, 0, 1] = 0.8, 0.2, 1.0
    images[1, 2, 2, 1] = 0.5
    return images


def test_heat_is_where_raising_channels_are_active():
    meta = tf.zeros((2, METADATA_WIDTH))
    heat = grad_cam.grad_cam(_model([[2.0], [-1.0], [0.0]]), tf.constant(_images()), meta)
    expected = np.zeros((2, 4, 4))
    expected[0, 1, 2], expected[0, 3, 3] = 1.0, 0.2 / 0.8  # the second channel lowers the logit: no heat
    np.testing.assert_allclose(heat, expected, atol=1e-6)  # nothing raised the second image's: 0 everywhere


def test_of_several_classes_it_is_melanoma_against_the_others():
    meta = tf.zeros((2, METADATA_WIDTH))
    heat = grad_cam.grad_cam(_model([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), tf.constant(_images()), meta)
    assert heat[0].argmax() == 0  # the first channel raises both logits alike, the second melanoma's alone
    assert heat[0, 1, 2] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "changes", [{}, {"metadata": True}, {"pooling": "gem"}, {"auxiliary": "sex,age"}, {"multi_sample_dropout": 3}]
)
def test_a_real_topology_has_a_feature_map(changes):
    model = build_model(ModelConfig(backbone="tiny", weights="none", **changes), 32)
    images = tf.constant(np.random.default_rng(0).random((2, 32, 32, 3)), tf.float32)
    meta = tf.zeros((2, METADATA_WIDTH))
    looked = grad_cam.with_feature_map(model)
    features, outputs = looked({"image": images, "meta": meta})
    for one, other in zip(tf.nest.flatten(outputs), tf.nest.flatten(model({"image": images, "meta": meta}))):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    heat = grad_cam.grad_cam(looked, images, meta)
    assert heat.shape == tuple(features.shape[:3]) and heat.min() >= 0 and heat.max() <= 1


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of three folds with weights of their own, its shards and its table."""
    monkeypatch.chdir(tmp_path)
    table = make_table()
    table.to_csv("train.csv", index=False)
    generator = np.random.default_rng(4)
    pictures = [make_picture(tuple(generator.integers(0, 255, 3))) for _ in range(len(table))]
    records = [schema.encode_record(*one) for one in zip(pictures, table["image_name"], table["target"])]
    (tmp_path / "shards").mkdir()
    shards.write_shard(tmp_path / "shards" / f"train00-{len(table)}.tfrec", records)
    folder = write_run(tmp_path / "run", table)
    recipe = config.Config(name="tiny", model=ModelConfig(backbone="tiny", weights="none"))
    recipe = config.override(recipe, ["data.image_size=32"])
    (folder / "config.json").write_text(json.dumps(config.to_json(recipe)))
    for fold in range(3):
        keras.utils.set_random_seed(fold)
        save_model_weights(build_model(recipe.model, 32), folder / f"fold_{fold}" / "last.weights.h5")
    return folder


def test_each_image_is_looked_at_by_the_model_that_held_it_out(run):
    fold_of = {"ISIC_0003": 0, "ISIC_0004": 1, "ISIC_0013": 1}
    maps = grad_cam.grad_cam_of_run(run, fold_of, "shards", "train.csv")
    assert maps.keys() == fold_of.keys()
    for name, fold in fold_of.items():
        keras.backend.clear_session()
        model = grad_cam.with_feature_map(load_fold_model(run / f"fold_{fold}", load_config(run)))
        image = tf.cast(maps[name].seen[None], tf.float32) / 255.0
        # the picture is of one colour, its metadata are not used
        expected = grad_cam.grad_cam(model, image, tf.zeros((1, METADATA_WIDTH)))[0]
        np.testing.assert_allclose(maps[name].heat, expected, atol=1e-4)
        assert maps[name].seen.shape == (32, 32, 3)


def test_report_shows_where_the_models_looked(run, run_command):
    code, _, complaint = run_command("report", "run", "--data_dir=shards", "--grad_cam", "--out=page.html")
    assert (code, complaint) == (0, [])
    page = (run.parent / "page.html").read_text()
    assert page.count('class="heat"') == 18 and "Selvaraju et al. 2017" in page
    assert "melanoma-tf report run \\\n  --data_dir=shards \\\n  --grad_cam</pre>" in page
    (run / "fold_1" / "last.weights.h5").unlink()
    code, _, complaint = run_command("report", "run", "--data_dir=shards", "--grad_cam", "--out=other.html")
    assert code == 2 and "no weights at run/fold_1/last.weights.h5" in " ".join(complaint)
    assert not (run.parent / "other.html").exists()
