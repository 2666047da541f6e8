"""Blends the predictions of runs or CSV files, by the method that is best on patients it was not chosen on.

A member is a run folder (its oof.csv and test.csv are taken) or one CSV: with a prediction column and `target`, or with
images of --table, it counts as out-of-fold, else as test. Writes oof.csv and test.csv where every member has one, and
blend.json. Whatever was learned is cross-fitted by patient: oof.csv and the AUC printed are of patients held out.
With --context each image is judged by the members and the patient's other images, and that is what is written.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from melanoma_tf import ensemble, files, metrics, tables
from melanoma_tf.command_line import CommandFlags, boolean_flag, list_flag, text_flag
from melanoma_tf.commands import blend_context
from melanoma_tf.ensemble import checks
from melanoma_tf.ensemble.blending import Blended
from melanoma_tf.ensemble.contribution import added_by_each
from melanoma_tf.ensemble.members import KINDS, Member
from melanoma_tf.errors import UserError

Score = metrics.Interval | None


def define_flags(flag_values: CommandFlags) -> None:
    list_flag(flag_values, "members", "run folders or CSV files, separated by commas", required=True)
    text_flag(flag_values, "out", None, "folder to write", required=True)
    methods = ", ".join((ensemble.AUTO, *ensemble.METHODS))
    text_flag(flag_values, "method", ensemble.AUTO, f"how to blend: {methods}")
    list_flag(flag_values, "weights", "one weight per member, such as 0.5,0.5, for a method that learns none")
    list_flag(flag_values, "test_members", "CSV files of the test images, one per member in their order")
    text_flag(flag_values, "table", None, "table with patient_id and target: truth of members without, and patients")
    text_flag(flag_values, "train_csv", None, "another name of --table")
    boolean_flag(flag_values, "context", "judge every image with the patient's other images too; needs --table")
    text_flag(flag_values, "test_csv", None, "table of the test images, for --context")
    text_flag(flag_values, "embeddings", None, "for --context: .npz of the training images, see context --help")
    text_flag(flag_values, "test_embeddings", None, "the same of the test images")
    boolean_flag(flag_values, "contributions", "tell what each member adds: blends once more without each of them")
    boolean_flag(flag_values, "shared", "blend the images that all members have, where they differ")
    boolean_flag(flag_values, "any_folds", "blend members that were trained on different folds")
    boolean_flag(flag_values, "keep_drifting", "keep members whose correlation with others differs on test images")
    boolean_flag(flag_values, "overwrite", "replace existing files")


def main(flag_values: CommandFlags) -> None:
    weights = _parse_weights(flag_values.weights)
    ensemble.check_method(flag_values.method, weights, len(flag_values.members))
    table = _read_table(flag_values)
    blend_context.check_flags(flag_values)
    members = ensemble.read_members(flag_values.members, flag_values.test_members, table)
    members, kinds, notes = _aligned(members, flag_values)
    target, patients = _truth(members, kinds, table)
    rows = blend_context.read_rows(members, kinds, target, table, flag_values)
    members, weights, dropped = _without_drifting(members, kinds, weights, flag_values.keep_drifting)
    out = Path(flag_values.out)
    files.refuse_run(out)
    for name in (*KINDS, "blend"):
        files.refuse_overwrite(out / f"{name}.{'json' if name == 'blend' else 'csv'}", flag_values.overwrite)
    blended = ensemble.blend_members(members, kinds, flag_values.method, weights, patients, _tell_progress)
    scores = [_auc(member.predictions.get("oof"), member.source, table, patients) for member in members]
    blend_score = _auc(blended.predictions.get("oof"), "the blend", table, patients)
    notes += [*dropped, *_warnings(members, kinds, target, patients, scores), *blended.notes]
    summary = _summary(members, scores, blended, blend_score, notes)
    told = _contributions(members, blended, weights, patients, summary) if flag_values.contributions else []
    if rows:
        blended, summary["context"], lines = blend_context.in_context(members, blended, rows)
        told += lines
    _write(files.make_folder(out), blended, summary)
    _print_scores([member.source for member in members], scores, blended, blend_score, notes)
    print("\n".join(told), end="\n" if told else "")
    written = [str(out / f"{kind}.csv") for kind in blended.predictions]
    print(f"wrote {', '.join(written)} and {out / 'blend.json'}")


def _tell_progress(method: str) -> None:
    if sys.stderr.isatty():
        print(f"trying {method}", file=sys.stderr)


def _parse_weights(texts: list[str] | None) -> list[float] | None:
    try:
        return [float(text) for text in texts] if texts else None
    except ValueError as error:
        raise UserError(f"--weights={','.join(texts or [])}: must be numbers, such as 0.5,0.5") from error


def _read_table(flag_values: CommandFlags) -> pd.DataFrame | None:
    if flag_values.table and flag_values.train_csv:
        raise UserError("--table and --train_csv are two names of the same table; give one of them")
    path = flag_values.table or flag_values.train_csv
    return tables.read_table(path, target=True) if path else None


def _aligned(members: list[Member], flag_values: CommandFlags) -> tuple[list[Member], list[str], list[str]]:
    """The members on the same images, the kinds that all have, and notes."""
    notes = [note for member in members for note in member.notes]
    kinds = [kind for kind in KINDS if all(kind in member.predictions for member in members)]
    if not kinds:
        have = "; ".join(f"{member.source}: {', '.join(member.paths)}" for member in members)
        raise UserError(f"the members have nothing in common to blend: {have}; "
                        f"--table tells the truth of out-of-fold files without one")  # fmt: skip
    for kind in kinds:
        members, note = ensemble.on_same_images(members, kind, flag_values.shared)
        notes += [note] if note else []
    if "oof" in kinds:
        folds, sources = [member.predictions["oof"].fold for member in members], [member.source for member in members]
        notes += filter(None, [checks.refuse_other_folds(folds, sources, flag_values.any_folds)])
    return members, kinds, notes


def _truth(members: list[Member], kinds: list[str], table: pd.DataFrame | None):
    """Truth int8[N] and patients str[N] of the out-of-fold rows, None where unknown."""
    if "oof" not in kinds:
        return None, None
    target = ensemble.common_truth(members)
    if target is not None:
        metrics.require_two_classes(target, members[0].source)
    return target, ensemble.known_patients(members, members[0].predictions["oof"].image_name, table)


def _without_drifting(members: list[Member], kinds: list[str], weights: list[float] | None, keep: bool):
    """Members, their weights, and notes on those that were dropped."""
    if len(kinds) < 2 or len(members) < 3:
        return members, weights, []
    scores = (ensemble.stacked(members, kind) for kind in KINDS)
    notes, out = [], set()
    for member, change in checks.drifting(*scores):
        source = members[member].source
        fate = "kept, as asked for" if keep else "dropped (--keep_drifting keeps it)"
        notes.append(f"{source}: its rank correlation with the others differs by {change:.2f} between out-of-fold "
                     f"and test images; {fate}")  # fmt: skip
        out |= set() if keep else {member}
    kept = [number for number in range(len(members)) if number not in out]
    return [members[at] for at in kept], weights and [weights[at] for at in kept], notes


def _auc(predictions, source: str, table: pd.DataFrame | None, patients: np.ndarray | None = None) -> Score:
    if predictions is None or predictions.target is None:
        return None
    metrics.require_two_classes(predictions.target, source)
    if patients is None and table is not None:
        patients = tables.rows_of(predictions.image_name, table, source)["patient_id"].to_numpy()
    return metrics.auc_interval(predictions.target, predictions.probability, patients)


def _warnings(members: list[Member], kinds: list[str], target, patients, scores: list[Score]) -> list[str]:
    sources = [member.source for member in members]
    notes = []
    if target is not None:
        oof = ensemble.stacked(members, "oof")
        folds = [member.predictions["oof"].fold for member in members]
        for number, seen in enumerate(checks.seen_folds(oof, target, folds, patients)):
            notes += [f"{sources[number]} seems to have been trained on {seen}"] if seen else []
        known = [(source, score) for source, score in zip(sources, scores) if score is not None]
        notes += [f"{known[at][0]}: an AUC of {known[at][1].value:.4f} is far above the others'; was it trained on "
                  f"these images?" for at in checks.far_better([score for _, score in known])]  # fmt: skip
        notes += [f"{source}: its AUC is below 0.5; does it hold the probability of a benign lesion?"
                  for source, score in zip(sources, scores) if score is not None and score.high < 0.5]  # fmt: skip
    if len(kinds) == 2:
        for member, auc in checks.telling_apart(*(ensemble.stacked(members, kind) for kind in KINDS)):
            notes.append(f"{sources[member]} tells test images from training images with an AUC of {auc:.2f}; "
                         f"its scores may not mean the same on both")  # fmt: skip
    return notes


def _summary(members: list[Member], scores: list[Score], blended: Blended, score: Score, notes: list[str]) -> dict:
    auc = lambda interval: interval and dataclasses.asdict(interval)  # noqa: E731
    weights = [None] * len(members) if blended.weights is None else blended.weights.tolist()
    return {
        "method": blended.method,
        "members": [
            {
                "path": member.source,
                "weight": weight,
                "sha256": {kind: files.sha256(path.read_bytes()) for kind, path in member.paths.items()},
                "auc": auc(member_score),
            }
            for member, weight, member_score in zip(members, weights, scores)
        ],
        "auc": auc(score),
        "cross_fitted": blended.apparent is not None,
        "apparent_auc": blended.apparent,
        "tried": blended.aucs,
        "chosen_in_folds": blended.chosen,
        "notes": notes,
    }


def _contributions(members: list[Member], blended: Blended, weights, patients, summary: dict) -> list[str]:
    """Puts what each member adds into the summary; lines for a person."""
    target = blended.predictions["oof"].target if "oof" in blended.predictions else None
    if target is None or len(members) < 2:
        raise UserError("--contributions needs two or more members with out-of-fold predictions and their truth")
    gains = added_by_each(members, blended.method, weights, target, patients)
    for member, gain in zip(summary["members"], gains):
        member["adds"] = gain and dataclasses.asdict(gain)
    return [f"{member.source} adds  {gain or 'all: no other has a weight'}" for member, gain in zip(members, gains)]


def _write(out: Path, blended: Blended, summary: dict) -> None:
    for kind in KINDS:
        if kind in blended.predictions:
            blended.predictions[kind].write(out / f"{kind}.csv")
        else:  # what an earlier blend left there would pass for a part of this one
            (out / f"{kind}.csv").unlink(missing_ok=True)
    files.write_json(out / "blend.json", summary)


def _print_scores(sources: list[str], scores: list[Score], blended: Blended, score: Score, notes: list[str]) -> None:
    labels = [*sources, f"blend ({blended.method})"]
    width = max(map(len, labels))
    for label, one in zip(labels, [*scores, score]):
        print(f"{label:<{width}}  {one or 'no truth known'}")
    if blended.apparent is not None:
        print(f"apparent AUC {blended.apparent:.4f} on the images it was fitted on; above: cross-fitted by patient")
    if blended.chosen:
        print("tried, cross-fitted: " + ", ".join(f"{name} {auc:.4f}" for name, auc in blended.aucs.items()))
        print("auto chose " + ", ".join(f"{name} in {count}" for name, count in blended.chosen.items())
              + f" of {sum(blended.chosen.values())} folds without them, {blended.method} in all")  # fmt: skip
    for note in notes:
        print(f"note: {note}")
