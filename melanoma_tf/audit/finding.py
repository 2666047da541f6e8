"""What a check found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from melanoma_tf.metrics import Interval

OK, WARNING, LEAK, SKIPPED = "ok", "warning", "LEAK", "not checked"
EXAMPLES = 20  # kept of each finding


@dataclass(frozen=True)
class Finding:
    """One line of the audit.

    Attributes:
      section, check: what was looked at. verdict: OK, WARNING, LEAK (a score on these data would be too good) or
        SKIPPED. count: how many were found, None where nothing is counted. auc: of a shortcut.
      examples: the first EXAMPLES of them. note: what they mean, or why nothing was checked.
    """

    section: str
    check: str
    verdict: str
    count: int | None = None
    examples: tuple[str, ...] = ()
    note: str = ""
    auc: Interval | None = None

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def counted(section: str, check: str, found: Iterable[str], bad: str, note: str = "") -> Finding:
    """A finding whose verdict is `bad` where anything was found, and whose note is told only then."""
    examples = list(found)
    verdict, told = (bad, note) if examples else (OK, "")
    return Finding(section, check, verdict, len(examples), tuple(examples[:EXAMPLES]), told)


def skipped(section: str, check: str, why: str) -> Finding:
    return Finding(section, check, SKIPPED, note=why)
