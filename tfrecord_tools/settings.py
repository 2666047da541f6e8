"""What decides about the bytes of a set of shards, besides its images and its table."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

from melanoma_tf import schema
from melanoma_tf.errors import UserError, nearest
from tfrecord_tools.images import FITS, Rendering

PREFIXES = ("train", "test")
MAX_SHARDS = 10_000


@dataclass(frozen=True)
class Settings:
    """How photographs and a table become shards. Raises UserError for a value out of range.

    Attributes:
      size: side of the square in pixels; 0 keeps the original, a JPEG bit for bit.
      fit, quality, frame, allow_burned_in: see `images.Rendering`.
      shards: number of files; without `group_by_patient` row i goes to shard i modulo `shards`.
      group_by_patient: all images of a patient in one shard; images, melanoma and patients balanced over the shards.
      dialect: fields of the records, see `schema.DIALECTS`.
      prefix: `train` or `test`; None takes `train` when the table has a target. Test records carry no target.
      salt: with it the patient ids are hashed (HMAC-SHA-256); it is written nowhere.
    """

    size: int = 1024
    fit: str = "crop"
    quality: int = 95
    frame: int | None = None
    allow_burned_in: bool = False
    shards: int = 16
    group_by_patient: bool = False
    dialect: str = "ours"
    prefix: str | None = None
    salt: bytes | None = None

    def __post_init__(self) -> None:
        if not (self.size == 0 or 16 <= self.size <= 8192):
            raise UserError(f"--size is {self.size}; it must be 0 (keep the original) or 16-8192 pixels")
        if not 1 <= self.quality <= 100:
            raise UserError(f"--quality is {self.quality}; it must be 1-100")
        if not 1 <= self.shards <= MAX_SHARDS:
            raise UserError(f"--shards is {self.shards}; it must be 1-{MAX_SHARDS}")
        if self.frame is not None and self.frame < 0:
            raise UserError(f"--frame is {self.frame}; it must be 0 or more, the first frame is 0")
        if self.salt is not None and len(self.salt) < 8:
            raise UserError(f"the salt has {len(self.salt)} bytes; at least 8 are needed, or ids can be guessed")
        for name, valid in (("fit", FITS), ("dialect", schema.DIALECTS), ("prefix", (*PREFIXES, None))):
            value = getattr(self, name)
            if value not in valid:
                raise UserError(f"--{name} is {value!r}; {nearest(str(value), filter(None, valid))}")

    @property
    def rendering(self) -> Rendering:
        return Rendering(self.size, self.fit, self.quality, self.frame, self.allow_burned_in)

    def as_json(self) -> dict[str, Any]:
        """For the manifest; of the salt only that there is one."""
        return dataclasses.asdict(self) | {"salt": self.salt is not None}


def read_salt(path: str | os.PathLike) -> bytes:
    """The bytes of a salt file, without blanks around them. Raises UserError."""
    try:
        with open(path, "rb") as file:
            return file.read(4096).strip()
    except OSError as error:
        raise UserError(f"cannot read the salt file {path}: {error.strerror or error}") from error
