"""Topologies, weights of others, and what is promised about both."""

import json
import pickle
import subprocess
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from melanoma_tf.config import ModelConfig
from melanoma_tf.errors import UserError

tf = pytest.importorskip("tensorflow")

from melanoma_tf.keras_compat import IS_KERAS_3, FusedBatchNormalization, keras  # noqa: E402
from melanoma_tf.layers import SeededDropout, step_randomness, swish  # noqa: E402
from melanoma_tf.models import (  # noqa: E402  # noqa: E402
    BACKBONES,
    backbones,
    build_model,
    load_model_weights,
    pretrained,
    save_model_weights,
    torchvision,
)
from melanoma_tf.tables import METADATA_WIDTH  # noqa: E402

# stage: expansion, channels, blocks, first stride, kernel (Tan & Le 2019, table 1)
B0 = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
      (6, 320, 1, 1, 3)]  # fmt: skip


def random_images(size, batch=2):
    return np.random.default_rng(5).random((batch, size, size, 3), np.float32)


def inputs(size, batch=2):
    return {"image": random_images(size, batch), "meta": np.zeros((batch, METADATA_WIDTH), np.float32)}


# ---- torchvision, written down from its definition -------------------------------------------------------------------


def state_dict():
    """A torchvision EfficientNet-B0 of random weights: name -> float32 array in torch's layout."""
    random = np.random.default_rng(0)
    state = OrderedDict()

    def conv(name, outside, inside, kernel, bias=False):
        state[f"{name}.weight"] = random.normal(0, (2 / (inside * kernel**2)) ** 0.5, (outside, inside, kernel, kernel))
        if bias:
            state[f"{name}.bias"] = random.normal(0, 0.1, outside)

    def norm(name, width):
        for part, low, high in (("weight", 0.8, 1.2), ("bias", -0.1, 0.1), ("running_mean", -0.1, 0.1),
                                ("running_var", 0.8, 1.2)):  # fmt: skip
            state[f"{name}.{part}"] = random.uniform(low, high, width)
        state[f"{name}.num_batches_tracked"] = np.array(1)

    conv("features.0.0", 32, 3, 3)
    norm("features.0.1", 32)
    inside = 32
    for stage, (expand, outside, count, _, kernel) in enumerate(B0, start=1):
        for block in range(count):
            name, wide, part = f"features.{stage}.{block}.block", inside * expand, 0
            if expand > 1:
                conv(f"{name}.0.0", wide, inside, 1)
                norm(f"{name}.0.1", wide)
                part = 1
            conv(f"{name}.{part}.0", wide, 1, kernel)
            norm(f"{name}.{part}.1", wide)
            conv(f"{name}.{part + 1}.fc1", inside // 4, wide, 1, bias=True)
            conv(f"{name}.{part + 1}.fc2", wide, inside // 4, 1, bias=True)
            conv(f"{name}.{part + 2}.0", outside, wide, 1)
            norm(f"{name}.{part + 2}.1", outside)
            inside = outside
    conv("features.8.0", 1280, 320, 1)
    norm("features.8.1", 1280)
    state["classifier.1.weight"] = random.normal(size=(2, 1280))
    return OrderedDict((key, value.astype(np.int64 if value.ndim == 0 else np.float32)) for key, value in state.items())


def forward(state, images):
    """torchvision's EfficientNet-B0 features: symmetric padding, epsilon 1e-5, ImageNet normalisation outside."""

    def conv_norm(x, name, stride, activate=True):
        weight = state[f"{name}.0.weight"]
        pad, depthwise = weight.shape[2] // 2, weight.shape[1] == 1 and weight.shape[0] > 1
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        kernel = weight.transpose(2, 3, 0, 1) if depthwise else weight.transpose(2, 3, 1, 0)
        convolve = tf.nn.depthwise_conv2d if depthwise else tf.nn.conv2d
        x = convolve(x, kernel, [1, stride, stride, 1], "VALID")
        mean, variance, scale, offset = (
            state[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / np.sqrt(variance + 1e-5) * scale + offset
        return x * tf.sigmoid(x) if activate else x

    def dense(x, name):
        return x @ state[f"{name}.weight"][:, :, 0, 0].T + state[f"{name}.bias"]

    x = (images - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    x = conv_norm(x, "features.0", 2)
    for stage, (expand, _, count, stride, _) in enumerate(B0, start=1):
        for block in range(count):
            name, before = f"features.{stage}.{block}.block", x
            parts = iter(range(4))
            if expand > 1:
                x = conv_norm(x, f"{name}.{next(parts)}", 1)
            x = conv_norm(x, f"{name}.{next(parts)}", stride if block == 0 else 1)
            squeeze = f"{name}.{next(parts)}"
            gate = dense(tf.reduce_mean(x, [1, 2]), f"{squeeze}.fc1")
            x = x * tf.sigmoid(dense(gate * tf.sigmoid(gate), f"{squeeze}.fc2"))[:, None, None]
            x = conv_norm(x, f"{name}.{next(parts)}", 1, activate=False)
            x = x + before if x.shape == before.shape else x
    return conv_norm(x, "features.8", 1)


def write_pth(path, state, monkeypatch):
    """`torch.save(state)` without torch: the same zip, the same names in the pickle."""
    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils")}

    def _rebuild_tensor_v2(*_):
        raise AssertionError("only the name is wanted")

    class FloatStorage: ...

    class LongStorage: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    modules["torch._utils"]._rebuild_tensor_v2 = _rebuild_tensor_v2
    for kind in (FloatStorage, LongStorage):
        kind.__module__, kind.__qualname__ = "torch", kind.__name__
        setattr(modules["torch"], kind.__name__, kind)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    class Storage:
        def __init__(self, key, array):
            self.key, self.array = key, array

    class Tensor:
        def __init__(self, key, array):
            self.storage, self.array = Storage(key, array), array

        def __reduce__(self):
            strides = tuple(step // self.array.itemsize for step in self.array.strides)
            return _rebuild_tensor_v2, (self.storage, 0, self.array.shape, strides, False, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                kind = LongStorage if value.array.dtype == np.int64 else FloatStorage
                return "storage", kind, value.key, "cpu", value.array.size
            return None

    import io

    buffer = io.BytesIO()
    tensors = OrderedDict((name, Tensor(str(number), array)) for number, (name, array) in enumerate(state.items()))
    Pickler(buffer, 2).dump(tensors)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", buffer.getvalue())
        for number, array in enumerate(state.values()):
            archive.writestr(f"weights/data/{number}", array.tobytes())


@pytest.fixture
def pth(tmp_path, monkeypatch):
    write_pth(tmp_path / "b0.pth", state_dict(), monkeypatch)
    return tmp_path / "b0.pth"


def test_torchvision_weights_give_torchvisions_features(pth):
    backbone = backbones.keras_efficientnet("B0", "torchvision", 0.2, 64)
    pretrained.load(backbone, ModelConfig(weights=str(pth), topology="torchvision"))
    want = forward(state_dict(), random_images(64)).numpy()
    got = backbone(random_images(64), training=False).numpy()
    np.testing.assert_allclose(got, want, atol=2e-4 * np.abs(want).max())


def test_a_pth_that_wants_to_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("code of the file ran",)

    with zipfile.ZipFile(tmp_path / "evil.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Evil()}))
    with pytest.raises(UserError, match=r"builtins\.print"):
        torchvision.read_state_dict(str(tmp_path / "evil.pth"))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"topology": "keras"}, "model.topology=torchvision"),
        ({"topology": "torchvision", "backbone": "efficientnet_b1"}, "another"),
        ({"topology": "torchvision", "backbone": "tiny"}, "torchvision file"),
    ],
)
def test_pth_into_another_topology_is_an_error(pth, settings, message):
    with pytest.raises(UserError, match=message):
        build_model(ModelConfig(weights=str(pth), **settings), 32)


# ---- topologies ------------------------------------------------------------------------------------------------------


def test_ours_equals_keras_own_efficientnet_with_its_weights():
    """Same names, same shapes, same outputs; normalisation is ours, inside."""
    plain = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3))
    random = np.random.default_rng(1)
    for layer in plain.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.8, 1.2, value.shape) for value in layer.get_weights()])
    ours = backbones.keras_efficientnet("B0", "keras", 0.2, 64)
    pretrained.assign(ours, {layer.name: layer.get_weights() for layer in plain.layers}, "keras")
    images = random_images(64)
    mean, variance = (np.float32(value) for value in (backbones.IMAGENET_MEAN, backbones.IMAGENET_VARIANCE))
    want = plain((images - mean) / np.sqrt(variance) * 255, training=False).numpy()  # Keras divides by 255
    np.testing.assert_allclose(ours(images, training=False), want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("name", ["tiny", "efficientnet_b0", "efficientnet_package_b0"])
def test_logits_are_float32_and_one_per_image(name):
    if "package" in name:
        pytest.importorskip("efficientnet")
    model = build_model(ModelConfig(backbone=name, metadata=True), 32)
    logits = model(inputs(32), training=False)
    assert logits.shape == (2, 1) and logits.dtype == tf.float32


def test_every_backbone_of_the_table_exists():
    first = {f"efficientnet_{kind}b{n}" for kind in ("", "package_") for n in range(8)}
    second = {f"efficientnet_v2_{version}" for version in ("b0", "b1", "b2", "b3", "s", "m", "l")}
    assert first | second | {"tiny"} == set(BACKBONES)


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'efficientnet_b3'"):
        build_model(ModelConfig(backbone="eficientnet_b3"), 32)


# ---- the layers that replace Keras' ----------------------------------------------------------------------------------


@pytest.mark.skipif(not IS_KERAS_3, reason="Keras 2 fuses by itself")
def test_fused_batch_normalization_equals_keras():
    images = tf.constant(np.random.default_rng(2).normal(3, 2, (8, 5, 5, 4)).astype(np.float32))
    plain, fused = keras.layers.BatchNormalization(momentum=0.9), FusedBatchNormalization(momentum=0.9)
    for training in (True, True, False):
        np.testing.assert_allclose(fused(images, training=training), plain(images, training=training), atol=1e-5)
    for ours, theirs in zip(fused.get_weights(), plain.get_weights()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    fused.trainable = False
    before = np.asarray(fused.moving_mean)
    fused(images, training=True)
    np.testing.assert_array_equal(before, fused.moving_mean)


def test_swish_and_its_gradient():
    x = tf.constant(np.linspace(-30, 30, 41), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours, plain = swish(x), tf.nn.silu(x)
    np.testing.assert_allclose(ours, plain, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(ours, x), tape.gradient(plain, x), atol=1e-6)


def test_dropout_is_a_function_of_the_seed_and_the_name():
    x = tf.ones([64, 32])
    layer, other = SeededDropout(0.25, name="one"), SeededDropout(0.25, name="two")

    def draw(layer, seed):
        with step_randomness(tf.constant([1, seed])):
            return layer(x, training=True).numpy()

    first = draw(layer, 1)
    np.testing.assert_array_equal(first, draw(layer, 1))
    assert (first != draw(layer, 2)).any() and (first != draw(other, 1)).any()
    assert set(np.unique(first)) == {0.0, np.float32(1 / 0.75)}
    assert abs((first == 0).mean() - 0.25) < 0.04
    np.testing.assert_array_equal(layer(x, training=False), x)


def test_drop_connect_drops_whole_branches():
    layer = SeededDropout(0.5, noise_shape=(None, 1, 1, 1), name="branch")
    with step_randomness(tf.constant([1, 2])):
        kept = layer(tf.ones([32, 3, 3, 2]), training=True).numpy().reshape(32, -1)
    assert (kept == kept[:, :1]).all() and 4 < (kept[:, 0] == 0).sum() < 28


# ---- weights of our own ----------------------------------------------------------------------------------------------


def test_saved_weights_give_the_same_outputs_in_a_fresh_process(tmp_path):
    config = ModelConfig(backbone="tiny", metadata=True)
    model = build_model(config, 32)
    save_model_weights(model, tmp_path / "model.weights.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["model.weights.h5"]
    want = model(inputs(32), training=False).numpy().ravel().tolist()
    code = f"""
import numpy as np, json
from tests.test_models import *
model = build_model(ModelConfig(backbone="tiny", metadata=True), 32)
load_model_weights(model, {str(tmp_path / "model.weights.h5")!r})
print(json.dumps(model(inputs(32), training=False).numpy().ravel().tolist()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), want, rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "tiny", "metadata": True, "pooling": "gem", "color_constancy": True, "rematerialize": True},
        {"backbone": "efficientnet_b0", "pooling": "attention", "multi_sample_dropout": 2},
    ],
    ids=lambda options: options["backbone"],
)
def test_a_whole_saved_model_gives_the_same_outputs_in_a_fresh_process(tmp_path, options):
    """As a notebook saves it; importing the package is all that loading needs."""
    model = build_model(ModelConfig(**options), 32)
    model.save(tmp_path / "model.keras")
    want = model(inputs(32), training=False).numpy().ravel().tolist()
    code = f"""
import json
import melanoma_tf.models
from tests.test_models import inputs, tf
model = tf.keras.models.load_model({str(tmp_path / "model.keras")!r})
print(json.dumps(model(inputs(32), training=False).numpy().ravel().tolist()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), want, rtol=1e-6)


def test_weights_of_another_topology_are_an_error(tmp_path):
    save_model_weights(build_model(ModelConfig(backbone="tiny", metadata=True), 32), tmp_path / "a.weights.h5")
    model = build_model(ModelConfig(backbone="tiny"), 32)
    with pytest.raises(UserError, match="does not fit the model"):
        load_model_weights(model, tmp_path / "a.weights.h5")
    with pytest.raises(UserError, match="no weights at"):
        load_model_weights(model, tmp_path / "absent.weights.h5")


def test_npz_weights_by_layer(tmp_path):
    source = backbones.tiny("keras", 0, 32)
    arrays = {f"{layer.name}/{n}": value for layer in source.layers for n, value in enumerate(layer.get_weights())}
    np.savez(tmp_path / "tiny.npz", **arrays)
    target = backbones.tiny("keras", 0, 32)
    pretrained.load(target, ModelConfig(backbone="tiny", weights=str(tmp_path / "tiny.npz")))
    np.testing.assert_array_equal(target(random_images(32)), source(random_images(32)))
    del arrays["tiny_bn1/3"]
    np.savez(tmp_path / "tiny.npz", **arrays)
    with pytest.raises(UserError, match="layer tiny_bn1 has shapes"):
        pretrained.load(target, ModelConfig(backbone="tiny", weights=str(tmp_path / "tiny.npz")))


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("absent.h5", None, "no file"),
        ("w.pkl", b"x", "unknown ending"),
        ("w.h5", b"not HDF5", "not an HDF5 file"),
        ("w.npz", b"not a zip", "not an .npz"),
        ("w.keras", b"not a zip", "not a Keras model"),
    ],
)
def test_bad_weight_files(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        build_model(ModelConfig(backbone="tiny", weights=str(tmp_path / name)), 32)


def test_a_disk_that_is_full_at_closing_is_one_line(tmp_path):
    class Full:
        def save_weights(self, path):
            raise RuntimeError("Can't decrement id ref count (unable to close file, errno = 28)")

    with pytest.raises(UserError, match=r"cannot write .*errno = 28"):
        save_model_weights(Full(), tmp_path / "last.weights.h5")


def test_files_of_weights_name_their_layers_as_ever(tmp_path):
    """Keras names what is in them by the classes of the layers: another name, and weights saved before do not load."""
    import h5py

    path = tmp_path / "last.weights.h5"
    save_model_weights(build_model(ModelConfig(backbone="tiny"), 32), path)
    names = []
    with h5py.File(path) as file:
        file.visit(names.append)
    kinds = {part.rstrip("_0123456789") for name in names for part in name.split("/") if "batch_norm" in part}
    assert kinds == {"fused_batch_normalization" if IS_KERAS_3 else "batch_normalization"}
