"""Weights of others: every format into the same backbone, and what does not fit named."""

import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_tf.config import ModelConfig
from melanoma_tf.errors import UserError
from melanoma_tf.models.safetensors import read_safetensors

from .conftest import settings

tf = pytest.importorskip("tensorflow")
h5py = pytest.importorskip("h5py")

from melanoma_tf.keras_compat import keras  # noqa: E402
from melanoma_tf.models import BACKBONES, backbones, build_model, pretrained, save_model_weights  # noqa: E402

from .test_models import forward, inputs, random_images, state_dict, write_pth  # noqa: E402


def tiny():
    return backbones.tiny("keras", 0.2, 32)


def shaken(model, seed=0):
    """The model with every weight of its own, averages of BatchNorm included."""
    random = np.random.default_rng(seed)
    model.set_weights([random.uniform(0.1, 0.5, value.shape).astype(np.float32) for value in model.get_weights()])
    return model


# ---- Keras -----------------------------------------------------------------------------------------------------------


def whole_model(path, backbone):
    """What a run saves: the backbone inside a model with a head."""
    model = build_model(ModelConfig(backbone="tiny", metadata=True, pooling="gem"), 32)
    model.get_layer("tiny").set_weights(backbone.get_weights())
    save_model_weights(model, path)


def whole_model_without_names(path, backbone):
    """As Keras 2, and Keras 3 in its first versions, write it."""
    whole_model(path, backbone)
    with h5py.File(path, "r+") as file:
        file.visititems(lambda _, group: group.attrs.pop("name", None) and None)


def sequential(path, backbone):
    model = keras.Sequential([backbone, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)])
    model(random_images(32))
    model.save_weights(path)


def old_h5(path, backbone):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in backbone.layers]
        for layer in backbone.layers:
            write_group(file, layer.name, [(layer.name, layer)])


def old_h5_of_a_whole_model(path, backbone):
    """As the notebooks of 2020 saved it: the backbone is one group, trainable weights before the averages."""
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"input_1", b"efficientnet", b"dense"]
        write_group(group, "input_1", [])
        write_group(group, "efficientnet", [(layer.name, layer) for layer in backbone.layers])
        write_group(group, "dense", [("dense", keras.layers.Dense(1))])


def write_group(file, name, layers):
    group, names = file.create_group(name), ([], [])
    for owner, layer in layers:
        for number, value in enumerate(layer.get_weights()):
            group[f"{owner}/{number}:0"] = value
            names[number >= 2].append(f"{owner}/{number}:0".encode())
    group.attrs["weight_names"] = names[0] + names[1]


def keras_file(path, backbone):
    """A model of Keras' own layers with the same names, as others would save it."""

    def own(layer):
        if isinstance(layer, keras.layers.Activation):
            return keras.layers.Activation("swish", name=layer.name)
        kind = keras.layers.BatchNormalization if "bn" in layer.name else layer.__class__
        return kind.from_config({name: value for name, value in layer.get_config().items() if name != "swish"})

    plain = keras.Sequential([keras.Input((32, 32, 3)), *map(own, backbone.layers[1:])])
    plain.set_weights(backbone.get_weights())
    plain.save(path)


def keras_file_that_cannot_be_built(path, backbone):
    """Only the weights count: what a file wants built, and so run, is never looked at."""
    buffer = io.BytesIO()
    keras_file(path, backbone)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(buffer, "w") as other:
        other.writestr("config.json", json.dumps({"class_name": "Lambda", "config": {"function": "print"}}))
        other.writestr("model.weights.h5", archive.read("model.weights.h5"))
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    "name, write",
    [
        ("last.weights.h5", whole_model),
        ("last.weights.h5", whole_model_without_names),
        ("whole.weights.h5", sequential),
        ("old.h5", old_h5),
        ("notebook.h5", old_h5_of_a_whole_model),
        ("tiny.keras", keras_file),
        ("odd.keras", keras_file_that_cannot_be_built),
    ],
)
def test_every_format_of_keras_into_a_backbone(tmp_path, name, write):
    source, target = shaken(tiny()), tiny()
    write(tmp_path / name, source)
    pretrained.load(target, ModelConfig(backbone="tiny", weights=str(tmp_path / name)))
    for ours, theirs in zip(target.get_weights(), source.get_weights()):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("write", [whole_model, whole_model_without_names])
def test_weights_of_another_backbone_name_the_layer(tmp_path, write):
    write(tmp_path / "last.weights.h5", tiny())
    backbone = BACKBONES["efficientnet_b0"]("keras", 0.2, 32)
    with pytest.raises(UserError, match=r"last\.weights\.h5.*stem_conv.*another topology"):
        pretrained.load(backbone, ModelConfig(weights=str(tmp_path / "last.weights.h5")))


def test_an_hdf5_file_of_something_else(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = [1, 2]
    with pytest.raises(UserError, match="neither layer_names nor layers"):
        pretrained.load(tiny(), ModelConfig(weights=str(tmp_path / "a.h5")))


def test_a_run_goes_on_from_the_weights_of_another(competition_original, run_command, tmp_path):
    """The backbone of one run's model starts another with another head; a topology that shapes do not tell is told."""
    first = ["--config=demo", f"--data_dir={competition_original}", "--fold=0", *settings("train.epochs=1")]
    code, _, err = run_command("train", f"--work_dir={tmp_path / 'a'}", *first)
    assert code == 0, err
    weights = f"--set=model.weights={tmp_path / 'a' / 'fold_0' / 'last.weights.h5'}"
    code, _, err = run_command(
        "train", f"--work_dir={tmp_path / 'b'}", *first, weights, "--set=model.pooling=attention"
    )
    assert code == 0, err
    code, _, err = run_command(
        "train", f"--work_dir={tmp_path / 'c'}", *first, weights, "--set=model.topology=torchvision"
    )
    assert code == 2 and "is of a run with model.topology=keras" in err[-1] and not (tmp_path / "c").exists()


# ---- torch -----------------------------------------------------------------------------------------------------------


def write_safetensors(path, state):
    """The documented format: length of the header, header, bytes."""
    kinds = {"float32": "F32", "float16": "F16", "int64": "I64", "uint16": "BF16"}
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, value in state.items():
        data = np.ascontiguousarray(value).tobytes()
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": kinds[str(value.dtype)], "shape": list(value.shape), "data_offsets": offsets}
        body += data
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + body)


def as_timm(state):
    """A torchvision EfficientNet-B0's tensors under timm's names, written down from its definition."""
    renamed = {}
    for name, value in state.items():
        head, _, part = name.rpartition(".")
        match head.split("."):
            case ["features", "0", place]:
                head = ("conv_stem", "bn1")[int(place)]
            case ["features", "8", place]:
                head = ("conv_head", "bn2")[int(place)]
            case ["features", stage, block, "block", *place]:
                inner = {"0.0": "conv_dw", "0.1": "bn1", "1.fc1": "se.conv_reduce", "1.fc2": "se.conv_expand",
                         "2.0": "conv_pw", "2.1": "bn2"} if stage == "1" else \
                        {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2.fc1": "se.conv_reduce",
                         "2.fc2": "se.conv_expand", "3.0": "conv_pwl", "3.1": "bn3"}  # fmt: skip
                head = f"blocks.{int(stage) - 1}.{block}.{inner['.'.join(place)]}"
            case _:
                head = "classifier"
        renamed[f"{head}.{part}"] = value
    return renamed


@pytest.mark.parametrize("layout", ["torchvision", "timm", "timm inside another", "timm in a .pth"])
def test_state_dicts_give_torchs_features(tmp_path, monkeypatch, layout):
    state = state_dict()
    named = state if layout == "torchvision" else as_timm(state)
    if "inside" in layout:  # as the competition's winners saved theirs
        named = {f"enet.{name}": value for name, value in named.items()} | {
            "meta.0.weight": np.zeros((3, 3), np.float32)
        }
    path = tmp_path / ("b0.pth" if "pth" in layout else "b0.safetensors")
    write_pth(path, named, monkeypatch) if "pth" in layout else write_safetensors(path, named)
    backbone = backbones.keras_efficientnet("B0", "torchvision", 0.2, 32)
    pretrained.load(backbone, ModelConfig(weights=str(path), topology="torchvision"))
    want = forward(state, random_images(32)).numpy()
    got = backbone(random_images(32), training=False).numpy()
    np.testing.assert_allclose(got, want, atol=2e-4 * np.abs(want).max())


# kind of block, channels, blocks, first stride, expansion (Tan & Le 2021, table 4, scaled to B0)
V2_B0 = [("cn", 16, 1, 1, 1), ("er", 32, 2, 2, 4), ("er", 48, 2, 2, 4), ("ir", 96, 3, 2, 4), ("ir", 112, 5, 1, 6),
         ("ir", 192, 8, 2, 6)]  # fmt: skip


class TimmV2:
    """timm's tf_efficientnetv2_b0 from its definition: makes its random weights while it computes its features."""

    def __init__(self):
        self.random, self.state = np.random.default_rng(2), {}

    def weight(self, name, *shape, low=None, high=None):
        values = self.random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape) if low is None else (
            self.random.uniform(low, high, shape)
        )  # fmt: skip
        self.state[name] = values.astype(np.float32)
        return self.state[name]

    def conv(self, x, name, outside, kernel, stride=1, depthwise=False):
        inside = x.shape[-1]
        weight = self.weight(f"{name}.weight", outside, 1 if depthwise else inside, kernel, kernel)
        if depthwise:
            return tf.nn.depthwise_conv2d(x, weight.transpose(2, 3, 0, 1), [1, stride, stride, 1], "SAME")
        return tf.nn.conv2d(x, weight.transpose(2, 3, 1, 0), stride, "SAME")

    def norm(self, x, name, activate=True):
        width = x.shape[-1]
        scale, variance = (
            self.weight(f"{name}.{part}", width, low=0.8, high=1.2) for part in ("weight", "running_var")
        )
        offset, mean = (self.weight(f"{name}.{part}", width, low=-0.1, high=0.1) for part in ("bias", "running_mean"))
        x = (x - mean) / np.sqrt(variance + 1e-3) * scale + offset
        return x * tf.sigmoid(x) if activate else x

    def squeeze(self, x, name, width):
        gate = tf.reduce_mean(x, [1, 2], keepdims=True)
        gate = self.conv(gate, f"{name}.conv_reduce", width, 1) + self.weight(
            f"{name}.conv_reduce.bias", width, low=0, high=1
        )
        gate = gate * tf.sigmoid(gate)
        wide = x.shape[-1]
        gate = self.conv(gate, f"{name}.conv_expand", wide, 1) + self.weight(
            f"{name}.conv_expand.bias", wide, low=0, high=1
        )
        return x * tf.sigmoid(gate)

    def block(self, x, name, kind, outside, stride, expand):
        before, wide = x, x.shape[-1] * expand
        if kind == "cn":
            x = self.norm(self.conv(x, f"{name}.conv", outside, 3, stride), f"{name}.bn1")
        elif kind == "er":
            x = self.norm(self.conv(x, f"{name}.conv_exp", wide, 3, stride), f"{name}.bn1")
            x = self.norm(self.conv(x, f"{name}.conv_pwl", outside, 1), f"{name}.bn2", activate=False)
        else:
            x = self.norm(self.conv(x, f"{name}.conv_pw", wide, 1), f"{name}.bn1")
            x = self.norm(self.conv(x, f"{name}.conv_dw", wide, 3, stride, depthwise=True), f"{name}.bn2")
            x = self.squeeze(x, f"{name}.se", before.shape[-1] // 4)
            x = self.norm(self.conv(x, f"{name}.conv_pwl", outside, 1), f"{name}.bn3", activate=False)
        return x + before if x.shape == before.shape else x

    def __call__(self, images):
        x = (images - np.float32(backbones.IMAGENET_MEAN)) / np.sqrt(np.float32(backbones.IMAGENET_VARIANCE))
        x = self.norm(self.conv(x, "conv_stem", 32, 3, 2), "bn1")
        for stage, (kind, outside, count, stride, expand) in enumerate(V2_B0):
            for number in range(count):
                x = self.block(x, f"blocks.{stage}.{number}", kind, outside, stride if number == 0 else 1, expand)
        return self.norm(self.conv(x, "conv_head", 1280, 1), "bn2").numpy()


def test_version_2_of_timm_gives_its_features(tmp_path):
    network = TimmV2()
    want = network(random_images(64))
    write_safetensors(tmp_path / "v2.safetensors", network.state)
    backbone = BACKBONES["efficientnet_v2_b0"]("keras", 0.2, 64)
    config = ModelConfig(backbone="efficientnet_v2_b0", weights=str(tmp_path / "v2.safetensors"))
    pretrained.load(backbone, config)
    np.testing.assert_allclose(backbone(random_images(64), training=False), want, atol=2e-4 * np.abs(want).max())


def test_safetensors_of_every_precision(tmp_path):
    exact = np.array([[1.0, -2.5], [0.15625, 3e4]], np.float32)  # few bits: the same in all three
    half = (exact[:1].view(np.uint32) >> 16).astype(np.uint16)
    write_safetensors(tmp_path / "a.safetensors", {"a": exact, "b": exact.astype(np.float16), "c": half})
    read = read_safetensors(str(tmp_path / "a.safetensors"))
    np.testing.assert_array_equal(read["a"], exact)
    np.testing.assert_array_equal(read["b"], exact.astype(np.float16))
    np.testing.assert_array_equal(read["c"], exact[:1])


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    write_safetensors(folder / "whole", {"a": np.ones((2, 2), np.float32), "b": np.arange(3)})
    return folder / "cut.safetensors", (folder / "whole").read_bytes()


@given(st.data())
def test_a_cut_or_damaged_safetensors_is_one_error_or_whole_tensors(small_file, data):
    path, content = small_file
    kept = data.draw(st.integers(0, len(content)), label="kept")
    place, value = data.draw(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), label="byte")
    damaged = bytearray(content)
    damaged[place] = value
    path.write_bytes(damaged[:kept])
    try:
        read = read_safetensors(str(path))
    except UserError as error:
        assert "not a .safetensors file" in str(error)
    else:
        assert kept == len(content) and all(isinstance(value, np.ndarray) for value in read.values())


@pytest.mark.parametrize(
    "state, message",
    [
        ({"layer1.weight": np.zeros(2, np.float32)}, "no EfficientNet of torchvision or timm"),
        ({"conv_stem.weight": np.zeros((32, 3, 3, 3), np.float32)}, "nothing for layer stem_bn"),
        ({"conv_stem.weight": np.zeros((32, 27), np.float32)}, "nothing for layer stem_conv"),
        ({"features.0.0.weight": np.zeros((32, 3, 3, 3), np.float32)}, "model.topology=torchvision"),
    ],
)
def test_state_dicts_of_something_else(tmp_path, state, message):
    write_safetensors(tmp_path / "a.safetensors", state)
    with pytest.raises(UserError, match=message):
        build_model(ModelConfig(weights=str(tmp_path / "a.safetensors")), 32)


# ---- backbones -------------------------------------------------------------------------------------------------------


def test_version_2_equals_keras_own_on_images_in_0_to_255():
    plain = keras.applications.EfficientNetV2B0(include_top=False, weights=None, input_shape=(32, 32, 3))
    ours = BACKBONES["efficientnet_v2_b0"]("keras", 0.2, 32)
    pretrained.assign(ours, {layer.name: layer.get_weights() for layer in plain.layers}, "keras")
    want = plain(random_images(32) * 255, training=False).numpy()
    np.testing.assert_allclose(ours(random_images(32), training=False), want, atol=1e-4 * np.abs(want).max())


def test_version_2_small_sees_what_keras_own_sees():
    """x / 128 - 1 of [0, 255]; of the whole network that step alone differs from B0's."""
    ours = BACKBONES["efficientnet_v2_s"]("keras", 0.2, 32)
    seen = keras.Model(ours.inputs, ours.layers[1].output)(random_images(32))
    np.testing.assert_allclose(seen, random_images(32) * 255 / 128 - 1, atol=1e-6)
    assert ours.layers[2].name == "stem_conv"


def test_version_2_is_keras_topology_alone():
    with pytest.raises(UserError, match="must be keras for EfficientNetV2"):
        build_model(ModelConfig(backbone="efficientnet_v2_b0", topology="torchvision"), 32)


@pytest.mark.parametrize("version, epsilon", [("B4", 1e-5), ("B5", 1e-3)])
def test_epsilon_of_torchvision(version, epsilon):
    norm = keras.layers.BatchNormalization()
    assert (backbones._as_torchvision(norm, version) or norm).epsilon == epsilon


FAMILIES = ("efficientnet_b0", "efficientnet_v2_b0", "efficientnet_package_b0")


def test_every_family_gives_the_same_outputs_in_a_fresh_process(tmp_path):
    pytest.importorskip("efficientnet")
    want = []
    for name in FAMILIES:
        model = build_model(ModelConfig(backbone=name), 32)
        save_model_weights(model, tmp_path / f"{name}.weights.h5")
        want.append(np.asarray(model(inputs(32), training=False)).tolist())
    code = f"""
import json, numpy as np
from tests.test_weights import FAMILIES, ModelConfig, build_model, inputs
from melanoma_tf.models import load_model_weights
for name in FAMILIES:
    model = build_model(ModelConfig(backbone=name), 32)
    load_model_weights(model, f"{tmp_path}/{{name}}.weights.h5")
    print(json.dumps(np.asarray(model(inputs(32), training=False)).tolist()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    got = [json.loads(line) for line in done.stdout.splitlines()[-len(FAMILIES) :]]
    assert np.std(want) > 0
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a cut archive"])
def test_an_npz_that_is_none_is_one_line(tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.npz is not an \.npz of arrays"):
        build_model(ModelConfig(backbone="tiny", weights=str(path)), 32)
