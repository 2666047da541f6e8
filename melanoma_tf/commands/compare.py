"""Is model B better than model A: by how much, with which certainty, on whom, and where do they part?

Both files must be of the same images. A patient's images are one cluster in every interval; subgroups are marked only
where the difference holds after correction for their number.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, text_flag
from melanoma_tf.commands.known_images import KnownImages, hashes, read_known_images
from melanoma_tf.errors import UserError
from melanoma_tf.evaluation import DIFFERENCES, METRICS
from melanoma_tf.evaluation.comparison import FEWEST_MELANOMA, Comparison, SubgroupDifference, compare_models
from melanoma_tf.metrics import Interval

MOVED = {
    (1, True): "melanoma that B ranks higher",
    (1, False): "melanoma that B ranks lower",
    (0, True): "benign images that B ranks higher",
    (0, False): "benign images that B ranks lower",
}


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "a", None, "predictions of the model to compare with", required=True)
    text_flag(flag_values, "b", None, "predictions of the model that may be better", required=True)
    text_flag(flag_values, "table", None, "the images' table: image_name, patient_id, sex, age, site", required=True)
    integer_flag(flag_values, "images", 5, "how many images to name of each kind where the models part", lower_bound=0)
    integer_flag(flag_values, "replicates", 2000, "draws of patients for the intervals", lower_bound=2)
    boolean_flag(flag_values, "json", "print a JSON record and no sentences")


def main(flag_values: CommandFlags) -> None:
    a, b = (read_known_images(path, flag_values.table) for path in (flag_values.a, flag_values.b))
    aligned = b.predictions.aligned(a.predictions.image_name, flag_values.b)
    differs = a.target != np.asarray(aligned.target)
    if differs.any():
        raise UserError(f"target of {aligned.image_name[differs][0]} differs between {flag_values.a} and "
                        f"{flag_values.b} ({int(differs.sum())} of them); they must be the same data")  # fmt: skip
    if (a.probability == aligned.probability).all():
        raise UserError(f"{flag_values.a} and {flag_values.b} hold the same predictions; there is nothing to compare")
    found = compare_models(
        a.target, a.probability, aligned.probability, a.rows, flag_values.images, flag_values.replicates
    )
    notes = [f"{name}: {note}" for name, one in (("A", a), ("B", b)) for note in one.notes]
    if flag_values.json:
        given = hashes({name: flag_values[name].value for name in ("a", "b", "table")})
        print(json.dumps({"inputs": given, **record(found, a, aligned.probability), "notes": notes}, indent=2))
    else:
        lines = [*sentences(found, flag_values.a, flag_values.b), *image_lines(found, a, aligned.probability)]
        print("\n".join([*lines, *(f"note: {note}" for note in notes)]))


def sentences(found: Comparison, path_a: str, path_b: str) -> list[str]:
    """The comparison for a person, line by line, without the images."""
    basis = found.a["roc_auc"]
    return [
        f"A: {path_a}", f"B: {path_b}",
        f"{basis.images:,} images, {basis.positives:,} melanoma, {basis.clusters:,} patients",
        "", *verdict(found), "", *_metric_lines(found), "", *_subgroup_lines(found.subgroups), "",
        *_disagreement_lines(found),
    ]  # fmt: skip


def verdict(found: Comparison) -> list[str]:
    """What the difference of the AUC says, in words."""
    auc = found.auc
    limits = f"95 % {auc.low:+.4f} to {auc.high:+.4f}, p = {auc.p_value:.2g}"
    if auc.low > 0 or auc.high < 0:
        better, worse = ("B", "A") if auc.value > 0 else ("A", "B")
        return [
            f"{better} ranks melanoma above benign images better than {worse}: in {abs(auc.value):.2%} more of the",
            f"pairs of a melanoma and a benign image (difference of AUC, B less A: {auc.value:+.4f}, {limits}).",
        ]
    return [
        f"It is not shown that one is better: the AUC differs by {auc.value:+.4f} ({limits}).",
        f"B could be worse by {max(-auc.low, 0):.4f} or better by {max(auc.high, 0):.4f}.",
    ]


def _metric_lines(found: Comparison) -> list[str]:
    width = max(len(METRICS[name].label) for name in DIFFERENCES)
    lines = [f"{'':<{width}}  A       B       B less A [95 %]             better"]
    rows: list[tuple[str, str, Interval]] = [("roc_auc", "ROC AUC, by DeLong", found.auc)]
    rows += [(name, "by bootstrap" if name == "roc_auc" else METRICS[name].label, one)
             for name, one in found.differences.items()]  # fmt: skip
    for name, label, one in rows:
        limits = f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
        a, b = found.a[name].value, found.b[name].value
        lines.append(f"{label:<{width}}  {a:.4f}  {b:.4f}  {limits:<26}  {_better(name, one)}")
    return lines


def _better(name: str, difference: Interval) -> str:
    if difference.low <= 0 <= difference.high:
        return "not shown"
    return "B" if (difference.value > 0) == METRICS[name].higher_is_better else "A"


def _subgroup_lines(groups: list[SubgroupDifference]) -> list[str]:
    tested = sum(group.difference is not None for group in groups)
    lines = [
        f"on whom: difference of AUC, B less A; * holds after Holm's correction for {tested} groups",
        f"{'':<24}images   melanoma  B less A [95 %]",
    ]
    for group in groups:
        one = group.difference
        limits = (f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]{' *' if group.marked else ''}" if one
                  else f"fewer than {FEWEST_MELANOMA} melanoma" if group.melanoma < FEWEST_MELANOMA
                  else "no benign image, or one patient")  # fmt: skip
        lines.append(f"{group.what:<6}  {group.name:<15} {group.images:<7,}  {group.melanoma:<8,}  {limits}")
    return lines


def _disagreement_lines(found: Comparison) -> list[str]:
    apart = found.disagreement
    differ = sum(apart.only_a) + sum(apart.only_b)
    total = differ + sum(apart.both) + sum(apart.neither)
    return [
        f"at thresholds for 90 % specificity of each they decide differently on {differ:,} of {total:,} images "
        f"({differ / total:.1%})",
        f"melanoma: both find {apart.both[0]:,}, only A {apart.only_a[0]:,}, only B {apart.only_b[0]:,}, "
        f"neither {apart.neither[0]:,}",
        f"benign: both flag {apart.both[1]:,}, only A {apart.only_a[1]:,}, only B {apart.only_b[1]:,}, "
        f"neither {apart.neither[1]:,}",
        f"rank correlation (Spearman) {apart.rank_correlation:.3f}",
    ]


def image_lines(found: Comparison, images: KnownImages, probability_b) -> list[str]:
    """Where the models part most, by the share of all images that each ranks below an image."""
    lines = []
    for kind, title in MOVED.items():
        rows = found.apart[kind]
        lines += ["", f"{title}: share of images below it, by A and by B (probabilities)"] if len(rows) else []
        for row in rows:
            name, patient = images.rows["image_name"][row], images.rows["patient_id"][row]
            lines.append(
                f"{name}  {patient}  {found.rank_a[row]:6.1%} {found.rank_b[row]:6.1%}  "
                f"({images.probability[row]:.4f}, {probability_b[row]:.4f})"
            )
    return lines


def record(found: Comparison, images: KnownImages, probability_b) -> dict:
    """The comparison as JSON takes it."""
    names = images.rows["image_name"]
    return {
        "a": {name: dataclasses.asdict(one) for name, one in found.a.items()},
        "b": {name: dataclasses.asdict(one) for name, one in found.b.items()},
        "auc_difference": dataclasses.asdict(found.auc),
        "differences": {name: dataclasses.asdict(one) for name, one in found.differences.items()},
        "subgroups": [dataclasses.asdict(group) for group in found.subgroups],
        "disagreement": dataclasses.asdict(found.disagreement),
        "apart": [
            {
                "image_name": str(names[row]), "target": target, "b_ranks_higher": up,
                "rank": [float(found.rank_a[row]), float(found.rank_b[row])],
                "probability": [float(images.probability[row]), float(probability_b[row])],
            }
            for (target, up), rows in found.apart.items()
            for row in rows
        ],
    }  # fmt: skip
