"""The fields of a TFRecord: the one place that knows them, for writers and for readers.

A record is a serialized `tf.train.Example`, a map from field name to a list of bytes, int64 or float32. Three dialects
are around: the official shards, the re-made sets with integer codes, and ours. What can be relied on in all of them is
`image` and `image_name`; everything else comes from the table (see `tables`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

IMAGE = "image"
IMAGE_NAME = "image_name"
TARGET = "target"

# What our writer adds for people, never for training: original size tells the label (AUC 0.776 alone, 2020 train).
WIDTH = "width"
HEIGHT = "height"

PATIENT = "patient_id"
SEX = "sex"
AGE = "age_approx"
SITE = "anatom_site_general_challenge"
DIAGNOSIS = "diagnosis"
SOURCE = "source"  # of tables that join several data sets; in no record

# Dialect -> the fields it has besides the image, its name and the target of train sets.
DIALECTS = {"ours": (WIDTH, HEIGHT), "official": (), "remade": (PATIENT, SEX, AGE, SITE, DIAGNOSIS)}

# Integer codes of the re-made sets, as they are around.
CODES = {
    SEX: {"male": 0, "female": 1},
    SITE: {"head/neck": 0, "upper extremity": 1, "lower extremity": 2, "torso": 3, "palms/soles": 4,
           "oral/genital": 5},
    DIAGNOSIS: {"unknown": 0, "nevus": 1, "melanoma": 2, "seborrheic keratosis": 3, "lentigo NOS": 4,
                "lichenoid keratosis": 5, "solar lentigo": 6, "cafe-au-lait macule": 7,
                "atypical melanocytic proliferation": 8},
}  # fmt: skip
MISSING = -1


@functools.cache
def _example_class() -> Any:  # a message class made at run time, whose fields no checker can know
    """`tf.train.Example`, built from its public definition so that TensorFlow need not be there.

    Source: tensorflow/core/example/{example,feature}.proto; field numbers are part of the file format.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="melanoma_tf_example.proto", package="melanoma_tf", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def add(message: Any, name: str, number: int, kind: int, repeated: bool = False, of: str = "") -> Any:
        label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
        field = message.field.add(name=name, number=number, type=kind, label=label)
        if of:
            field.type_name = f".melanoma_tf.{of}"
        return field

    for list_name, kind in (("BytesList", kinds.TYPE_BYTES), ("FloatList", kinds.TYPE_FLOAT),
                            ("Int64List", kinds.TYPE_INT64)):  # fmt: skip
        add(file.message_type.add(name=list_name), "value", 1, kind, repeated=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), start=1):
        of = name.title().replace("_", "")
        add(feature, name, number, kinds.TYPE_MESSAGE, of=of).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, kinds.TYPE_STRING)
    add(entry, "value", 2, kinds.TYPE_MESSAGE, of="Feature")
    add(features, "feature", 1, kinds.TYPE_MESSAGE, repeated=True, of="Features.FeatureEntry")
    add(file.message_type.add(name="Example"), "features", 1, kinds.TYPE_MESSAGE, of="Features")

    pool = descriptor_pool.DescriptorPool()  # a pool of its own: TensorFlow's proto may live in the default one
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("melanoma_tf.Example"))


def encode_fields(fields: dict[str, bytes | int | float]) -> bytes:
    """Serializes one value per field; the bytes are a function of the values alone (keys sorted)."""
    example = _example_class()()
    for name, value in fields.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            feature.int64_list.value.append(int(value))
    return example.SerializeToString(deterministic=True)


def decode_fields(serialized: bytes) -> dict[str, list]:
    """All fields of a record of any dialect, each as its list of values. Raises ValueError if it is no Example."""
    from google.protobuf.message import DecodeError

    try:
        example = _example_class().FromString(serialized)
    except DecodeError as error:
        raise ValueError("not a tf.train.Example") from error
    decoded = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        decoded[name] = list(getattr(feature, kind).value) if kind else []
    return decoded


def encode_record(
    image: bytes, image_name: str, target: int | None = None, size: tuple[int, int] | None = None,
    codes: Mapping[str, int] | None = None,
) -> bytes:  # fmt: skip
    """One record, which every reader of the official dialect takes.

    Args:
      image: JPEG bytes, RGB or grey.
      image_name: name in the table, such as `ISIC_2637011`.
      target: 0 or 1, None in test sets.
      size: (width, height) of the original in pixels, for the audit; never an input to a model.
      codes: further whole numbers by field name, as the re-made dialect has them.
    """
    fields: dict[str, bytes | int | float] = {IMAGE: image, IMAGE_NAME: image_name.encode(), **(codes or {})}
    if target is not None:
        fields[TARGET] = int(target)
    if size is not None:
        fields[WIDTH], fields[HEIGHT] = size
    return encode_fields(fields)


def decode_record(serialized: bytes) -> dict[str, Any]:
    """`image` bytes, `image_name` str, `target` int or None of a record of any dialect, the rest under `fields`.

    Raises: ValueError that names the missing field.
    """
    fields = decode_fields(serialized)
    for name in (IMAGE, IMAGE_NAME):
        if len(fields.get(name, ())) != 1 or not isinstance(fields[name][0], bytes):
            raise ValueError(f"no field {name!r}; it has: {', '.join(sorted(fields)) or 'none'}")
    target = fields.get(TARGET)
    return {
        IMAGE: fields[IMAGE][0],
        IMAGE_NAME: fields[IMAGE_NAME][0].decode(errors="replace"),
        TARGET: int(target[0]) if target else None,
        "fields": fields,
    }


def feature_spec() -> dict[str, Any]:
    """What `tf.io.parse_example` must extract, for every dialect."""
    import tensorflow as tf

    return {IMAGE: tf.io.FixedLenFeature([], tf.string), IMAGE_NAME: tf.io.FixedLenFeature([], tf.string)}
