"""The audit as a table for a person."""

from __future__ import annotations

import collections
import itertools
import textwrap

from melanoma_tf.audit.finding import LEAK, OK, SKIPPED, WARNING, Finding

WIDTH, SHOWN = 118, 3
COLOURS = {LEAK: "\x1b[1;31m", WARNING: "\x1b[33m", OK: "\x1b[32m", SKIPPED: "\x1b[2m"}
RESET = "\x1b[0m"


def describe(findings: list[Finding], *, colour: bool = False) -> str:
    """One line a check under its section, with what was found behind it; what was not checked, and a sum, last."""
    made = [finding for finding in findings if finding.verdict != SKIPPED]
    width = max([len(finding.check) for finding in made], default=0)
    lines = []
    for section, group in itertools.groupby(made, lambda finding: finding.section):
        lines += ["", section.upper()]
        for finding in group:
            lines += _lines(finding, width, colour)
    not_made = [finding for finding in findings if finding.verdict == SKIPPED]
    if not_made:
        lines += ["", "NOT CHECKED"]
        names = [f"{finding.section}: {finding.check}" for finding in not_made]
        across = max(map(len, names))
        lines += [f"  {name:<{across}}  {finding.note}" for name, finding in zip(names, not_made)]
    return "\n".join([*lines[1:], "", total(findings)])


def total(findings: list[Finding]) -> str:
    """How many of each verdict: `1 LEAK, 3 warnings, 20 ok, 2 not checked`, or `no leak, ...`."""
    numbers = collections.Counter(finding.verdict for finding in findings)
    plural = {LEAK: "LEAKS", WARNING: "warnings"}
    told = [f"{numbers[verdict]} {verdict if numbers[verdict] == 1 else plural.get(verdict, verdict)}"
            for verdict in COLOURS if numbers[verdict]]  # fmt: skip
    return ", ".join(told if numbers[LEAK] else ["no leak", *told])


def _lines(finding: Finding, width: int, colour: bool) -> list[str]:
    number = f"{finding.auc.value:.3f}" if finding.auc else f"{finding.count:,}"
    verdict = f"{finding.verdict:<7}"
    if colour:
        verdict = f"{COLOURS[finding.verdict]}{verdict}{RESET}"
    start = f"  {finding.check:<{width}}  {number:>7}  {verdict}  "
    indent = width + 20
    text = textwrap.wrap(_told(finding), WIDTH - indent, break_long_words=False, break_on_hyphens=False) or [""]
    return [(start + text[0]).rstrip(), *(" " * indent + more for more in text[1:])]


def _told(finding: Finding) -> str:
    if finding.auc:
        return f"AUC, 95 % interval {finding.auc.low:.3f} to {finding.auc.high:.3f}"
    examples = ", ".join(finding.examples[:SHOWN])
    if finding.count and finding.count > SHOWN:
        examples += ", ..."
    return ": ".join(filter(None, [finding.note, examples])) if finding.verdict != OK else finding.note
