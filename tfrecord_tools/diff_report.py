"""What a comparison of two sets of shards found, for a person and as JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 5


@dataclass(frozen=True)
class Place:
    """Where a record stands: its shard, and its offset in bytes."""

    path: str
    offset: int


@dataclass
class Side:
    """What one of the two folders holds.

    Attributes:
      folder; shards: number of files; records: number in them.
      places: of every image, in the order of the records; doubled: names that came again, of which the first counts.
      dialects: see `inspection.dialect_of`.
    """

    folder: str
    shards: int
    records: int = 0
    places: dict[str, Place] = field(default_factory=dict)
    doubled: list[str] = field(default_factory=list)
    dialects: Counter = field(default_factory=Counter)

    def line(self) -> str:
        return f"{self.folder}: {self.records} records in {self.shards} shards, {'+'.join(self.dialects) or 'empty'}"


@dataclass
class DiffReport:
    """Two folders compared.

    Attributes:
      a, b: the sides; only_a, only_b: names; in_both: number of names; same_order: of those in both.
      same_bytes, same_pixels: number of pictures; psnr: dB of the other ones by name.
      not_compared: why, by name; fields: field name -> image name -> values in a and b.
      min_psnr: dB below which a picture differs.
    """

    a: Side
    b: Side
    min_psnr: float
    only_a: list[str]
    only_b: list[str]
    in_both: int
    same_order: bool
    same_bytes: int = 0
    same_pixels: int = 0
    psnr: dict[str, float] = field(default_factory=dict)
    not_compared: dict[str, str] = field(default_factory=dict)
    fields: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)

    def worst(self) -> list[tuple[str, float]]:
        """Names and dB, lowest first."""
        return sorted(self.psnr.items(), key=lambda item: item[1])

    def summary(self) -> list[str]:
        """Lines for a person."""
        order = "in the same order" if self.same_order else "in another order"
        names = f"names: {self.in_both} in both, {order}; {len(self.only_a)} only in a, {len(self.only_b)} only in b"
        pictures = f"pictures: {self.same_bytes} equal byte for byte, {self.same_pixels} pixel for pixel"
        lines = [f"a: {self.a.line()}", f"b: {self.b.line()}", names, pictures]
        if self.psnr:
            worst, median = self.worst(), statistics.median(self.psnr.values())
            lines[-1] += f", {len(worst)} by PSNR: least {worst[0][1]:.2f} dB, median {median:.2f} dB"
            lines.append("  least like: " + _listed(f"{name} {psnr:.2f} dB" for name, psnr in worst))
        return lines

    def differences(self) -> list[str]:
        """One line a kind, with the first images; none where the sides agree."""
        low = [(name, psnr) for name, psnr in self.worst() if psnr < self.min_psnr]
        kinds = [
            ("only in a", self.only_a), ("only in b", self.only_b),
            ("more than once in a", self.a.doubled), ("more than once in b", self.b.doubled),
            ("pictures that cannot be compared", [f"{name} ({why})" for name, why in self.not_compared.items()]),
            (f"PSNR below {self.min_psnr:g} dB", [f"{name} {psnr:.2f} dB" for name, psnr in low]),
        ]  # fmt: skip
        for name, values in sorted(self.fields.items()):
            kinds.append((f"field {name}", [f"{image} (a: {a}, b: {b})" for image, (a, b) in values.items()]))
        return [f"{kind}: {len(images)}: {_listed(images)}" for kind, images in kinds if images]

    def as_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        sides = {
            name: {"folder": side.folder, "shards": side.shards, "records": side.records,
                   "dialects": dict(side.dialects), "only": only, "doubled": side.doubled}
            for name, side, only in (("a", self.a, self.only_a), ("b", self.b, self.only_b))
        }  # fmt: skip
        values = self.psnr.values()
        return sides | {
            "in_both": self.in_both, "same_order": self.same_order, "same_bytes": self.same_bytes,
            "same_pixels": self.same_pixels, "min_psnr": self.min_psnr,
            "psnr": {"images": len(values), "min": min(values, default=None),
                     "median": statistics.median(values) if values else None, "worst": dict(self.worst()[:EXAMPLES])},
            "not_compared": self.not_compared, "fields": self.fields, "agree": not self.differences(),
        }  # fmt: skip


def _listed(examples: Iterable[str]) -> str:
    examples = list(examples)
    more = f", and {len(examples) - EXAMPLES} more" if len(examples) > EXAMPLES else ""
    return ", ".join(examples[:EXAMPLES]) + more
