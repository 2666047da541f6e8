"""The section on a blend's members: their weights, their worth alone, and what each adds."""

from __future__ import annotations

from typing import Any

from melanoma_tf.report import figures, markup, records
from melanoma_tf.report.contents import Run


def members(run: Run) -> str:
    """One row a member, the blend last; what each adds is there where the blend was made with --contributions."""
    if not run.blend:
        return ""
    every = [*run.blend["members"], {"path": f"blend ({run.blend.get('method')})", "auc": run.blend.get("auc")}]
    found = [records.interval(member.get("auc")) for member in every]
    low = figures.lowest(found)
    told = any(member.get("adds") for member in every)
    rows = []
    for number, (member, auc) in enumerate(zip(every, found)):
        weight = _weight(member.get("weight")) if number < len(every) - 1 else ""
        adds = (_adds(member.get("adds")),) if told else ()
        rows.append((str(member.get("path")), weight, markup.interval(auc), figures.mark(auc, low, 1), *adds))
    header = ("Member", "Weight", "AUC [95 %]", figures.mark_scale(low), *(("Adds [95 %]",) if told else ()))
    return markup.section(
        "Members", _lead(run.blend, told), markup.table(header, rows, total=True, stack=told), _notes(run.blend)
    )


def _lead(blend: dict[str, Any], told: bool) -> str:
    lead = "What was blended, with the weight of each member and its AUC on the same images."
    if blend.get("cross_fitted"):
        lead += " Method and weights were chosen by cross-fitting: the blend's AUC is of patients not chosen on."
    if told:
        lead += " What a member adds is the AUC of all minus the AUC of a blend, by the same method, without it."
    return lead


def _weight(weight: float | None) -> str:
    return "learned" if weight is None else f"{weight:.3f}"


def _adds(stored: dict[str, Any] | None) -> str:
    gain = records.difference(stored)
    return markup.signed(gain.value, gain.low, gain.high, 4) if gain else ""


def _notes(blend: dict[str, Any]) -> str:
    apparent = blend.get("apparent_auc")
    notes = [str(note) for note in blend.get("notes") or ()]
    if isinstance(apparent, float):
        notes.insert(0, f"On the images that it was fitted on its AUC is {apparent:.4f}, which is not to be quoted.")
    return "".join(markup.note(note) for note in notes)
