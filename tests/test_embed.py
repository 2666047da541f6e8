"""`predict --embeddings`: each image by the model that held it out, or all by a named one."""

import json

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from melanoma_tf import config  # noqa: E402
from melanoma_tf.config import ModelConfig  # noqa: E402
from melanoma_tf.data.image_set import load_image_set  # noqa: E402
from melanoma_tf.data.pipeline import eval_dataset  # noqa: E402
from melanoma_tf.embed import embed  # noqa: E402
from melanoma_tf.embeddings import read_embeddings  # noqa: E402
from melanoma_tf.keras_compat import keras  # noqa: E402
from melanoma_tf.models import build_model, save_model_weights  # noqa: E402
from melanoma_tf.predict import load_config, load_fold_model  # noqa: E402
from melanoma_tf.predictions import Predictions  # noqa: E402

SETTINGS = ["data.image_size=32", "predict.batch_size=7", "predict.views=1"]


def make_run(folder, competition, **changes):
    """Two folds with weights of their own; the last image of the table was held out by none."""
    recipe = config.override(
        config.Config(name="tiny", model=ModelConfig(backbone="tiny", weights="none", **changes)), SETTINGS
    )
    for fold in (0, 1):
        keras.utils.set_random_seed(fold)
        (folder / f"fold_{fold}").mkdir(parents=True)
        save_model_weights(build_model(recipe.model, 32), folder / f"fold_{fold}" / "last.weights.h5")
        (folder / f"fold_{fold}" / "finished.json").write_text("{}")
    (folder / "config.json").write_text(json.dumps(config.to_json(recipe)))
    images = load_image_set(competition, competition / "train.csv", "train", target=True)
    held_out = np.arange(len(images) - 1)
    Predictions(
        images.names[held_out], np.full(len(held_out), 0.5), images.target[held_out], held_out // 5 % 2
    ).write(folder / "oof.csv")  # fmt: skip
    return folder, images


def by_hand(run, images, fold, row):
    """What the pooling of one fold's model is given, averaged."""
    keras.backend.clear_session()
    model = load_fold_model(run / f"fold_{fold}", load_config(run))
    pooling = model.get_layer("pool")
    feature_map = keras.Model(model.input, [pooling.input, model.output])
    batch = next(iter(eval_dataset(images, np.array([row]), image_size=32, batch_size=1)))
    given = {"image": tf.cast(batch["image"], tf.float32) / 255.0, "meta": batch["meta"]}
    return feature_map(given, training=False)[0].numpy().mean(axis=(0, 1, 2))


@pytest.mark.parametrize("changes", [{"metadata": True}, {"auxiliary": "sex"}])
def test_each_image_by_the_model_that_held_it_out(competition, tmp_path, changes):
    run, images = make_run(tmp_path / "run", competition, **changes)
    names, features = embed(run, images)
    assert names.tolist() == images.names[:-1].tolist() and features.dtype == np.float32
    fold = np.arange(len(names)) // 5 % 2
    for number in (0, 1):
        np.testing.assert_allclose(features[fold == number].mean(axis=0), 0, atol=1e-5)
        first, second = np.flatnonzero(fold == number)[[1, 9]]  # means are taken off, differences stay
        expected = by_hand(run, images, number, first) - by_hand(run, images, number, second)
        np.testing.assert_allclose(features[first] - features[second], expected, atol=1e-4)
    assert np.ptp(features, axis=0).max() > 1e-3


def test_a_named_fold_embeds_all(competition, tmp_path):
    run, images = make_run(tmp_path / "run", competition, pooling="gem")
    names, features = embed(run, images, "1")
    assert names.tolist() == images.names.tolist() and np.isfinite(features).all()
    assert not np.allclose(features, embed(run, images, "0")[1], atol=1e-3)


def test_command(competition, tmp_path, run_command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run", competition)
    command = ("predict", "--run=run", f"--data_dir={competition}")
    code, _, complaint = run_command(*command, "--out=new/test.csv", "--embeddings=new/test.npz")
    assert code == 2 and "held out any of these" in complaint[-1] and len(complaint) == 1  # before any work
    code, printed, complaint = run_command(*command, "--prefix=train", "--embeddings=oof.npz")
    assert code == 0, complaint
    assert "wrote oof.npz: 47 of 48 images, " in printed
    names, features = read_embeddings("oof.npz")
    assert len(names) == len(features) == 47
    code, printed, complaint = run_command(*command, "--embeddings=test.npz", "--fold=0", "--out=test.csv")
    assert code == 0, complaint
    assert "wrote test.csv: 11 images" in printed and "wrote test.npz: 11 of 11 images" in printed
    for arguments, words in (
        (["--embeddings=none.npz"], "name the model that shall embed them, --fold=0"),
        (["--embeddings=none.npz", "--fold=../run/fold_0"], "no such finished fold; it has 0, 1"),
        (["--embeddings=oof.npz"], "oof.npz exists already"),
        (["--out=none.csv", "--fold=0"], "it belongs to --embeddings"),
        ([], "nothing to write"),
    ):
        code, _, complaint = run_command(*command, *arguments)
        assert code == 2 and words in complaint[-1], complaint
    assert not list(tmp_path.glob("none.*"))
