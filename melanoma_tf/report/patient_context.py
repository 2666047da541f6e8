"""The section on patient context: before and after, and what may be the number of images in disguise."""

from __future__ import annotations

from typing import Any

from melanoma_tf.report import figures, markup, records
from melanoma_tf.report.contents import Run

LABELS = {
    "input": "Before: the score of the image",
    "single": "Each image alone, with age, sex, site",
    "context": "After: with the patient's other images",
}
SHORTCUTS = {
    "images_of_patient": "the number of images of the patient", "width": "image width", "height": "image height",
}  # fmt: skip


def patient_context(run: Run) -> str:
    """What the patient's other images brought, with the interval of the difference, and the warning about shortcuts."""
    record = run.context
    if not record:
        return ""
    stages = [(stage, found) for stage in records.STAGES if (found := records.interval(record["auc"].get(stage)))]
    apparent = records.interval(record.get("apparent"))
    low = figures.lowest([found for _, found in stages])
    matched = record.get("matched") or {}
    rows = [
        (LABELS[stage], markup.interval(found), figures.mark(found, low, 1), _number(matched.get(stage)))
        for stage, found in stages
    ]
    header = ("", "AUC [95 %]", figures.mark_scale(low), "Equally many images")
    lead = (
        "A lesion judged by what is known of the patient and of the patient's other images. Cross-fitted: no patient "
        "is judged by a model that saw the patient. Labels of other images are never used."
    )
    hint = "Equally many images: AUC between patients whose numbers of images differ by no more than 10 %, where the " \
           "number tells nothing."  # fmt: skip
    if apparent:
        hint += f" On the very images it was fitted on: {apparent.value:.3f}; not to be quoted."
    parts = [markup.table(header, rows), markup.note(hint), _differences(record), _shortcuts(record)]
    return markup.section("Patient context", lead, *parts)


def _number(value: float | None) -> str:
    return markup.NONE if value is None or value != value else f"{value:.3f}"


def _differences(record: dict[str, Any]) -> str:
    named = {
        "difference": "Context above the score alone",
        "difference_of_companions": "Of it by the patient's other images",
        "difference_of_embeddings": "Of it by embeddings of those images",
        "difference_to_blend": "Context above the blend",
    }
    found = [(label, records.difference(record.get(name))) for name, label in named.items()]
    rows = [
        (label, markup.signed(gain.value, gain.low, gain.high, 4), "yes" if gain.low > 0 or gain.high < 0 else "no")
        for label, gain in found if gain
    ]  # fmt: skip
    return markup.table(("Difference", "AUC [95 %]", "Excludes 0"), rows)


def _shortcuts(record: dict[str, Any]) -> str:
    """A warning, never a result: count and size tell how the set was collected."""
    told = (record.get("count_told") or {}).get("context")
    sentences = []
    if told is not None:
        sentences.append(
            f"What the context model is given tells the number of the patient's images with a rank correlation of "
            f"{told:.2f}: a gain may be that number in disguise."
        )
    shortcuts = record.get("shortcuts") or {}
    found, gain = records.interval(shortcuts.get("auc")), records.difference(shortcuts.get("difference"))
    if found and gain:
        alone = ", ".join(f"{SHORTCUTS.get(name, name)} (alone {value:.2f})"
                          for name, value in shortcuts.get("alone", {}).items())  # fmt: skip
        sentences.append(
            f"With {alone} the AUC would be {markup.interval(found)}, a difference of "
            f"{markup.signed(gain.value, gain.low, gain.high, 4)}. That is how this set was collected, not what a "
            "lesion is; it is in no score of this page."
        )
    return markup.note("Warning: " + " ".join(sentences), "warning") if sentences else ""
