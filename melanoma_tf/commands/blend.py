"""Blends the predictions of runs or CSV files, with every member's exact AUC.

A member is a run folder (its oof.csv and test.csv are taken) or one CSV: with a prediction column and `target` it
counts as out-of-fold, without a truth as test. Writes oof.csv and test.csv where every member has one, and blend.json.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from melanoma_tf import ensemble, files, metrics, tables
from melanoma_tf.command_line import CommandFlags, boolean_flag, list_flag, text_flag
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions, read_predictions

KINDS = ("oof", "test")


@dataclasses.dataclass(frozen=True)
class Member:
    """A member of a blend: where it is from, and per kind (`oof`, `test`) its file and its predictions."""

    source: str
    paths: dict[str, Path]
    predictions: dict[str, Predictions]


def define_flags(flag_values: CommandFlags) -> None:
    list_flag(flag_values, "members", "run folders or CSV files, separated by commas", required=True)
    text_flag(flag_values, "out", None, "folder to write", required=True)
    text_flag(flag_values, "method", "mean", f"how to blend: {', '.join(ensemble.BLENDS)}")
    list_flag(flag_values, "weights", "one weight per member, such as 0.5,0.5; without, equal ones")
    text_flag(flag_values, "train_csv", None, "table with patient_id, for intervals that know of patients")
    boolean_flag(flag_values, "overwrite", "replace existing files")


def main(flag_values: CommandFlags) -> None:
    members = [read_member(path) for path in flag_values.members]
    kinds = [kind for kind in KINDS if all(kind in member.predictions for member in members)]
    if not kinds:
        have = "; ".join(f"{member.source}: {', '.join(member.paths)}" for member in members)
        raise UserError(f"the members have nothing in common to blend: {have}")
    weights = _parse_weights(flag_values.weights)
    sources = [member.source for member in members]
    blended = {
        kind: ensemble.blend([m.predictions[kind] for m in members], flag_values.method, weights, sources)
        for kind in kinds
    }
    table = tables.read_table(flag_values.train_csv, target=True) if flag_values.train_csv else None
    scores = [_auc(predictions, source, table) for predictions, source in _scored(members, blended)]
    out = Path(flag_values.out)
    for name in (*KINDS, "blend"):
        files.refuse_overwrite(out / f"{name}.{'json' if name == 'blend' else 'csv'}", flag_values.overwrite)
    _write(files.make_folder(out), members, blended, _summary(flag_values.method, weights, members, scores))
    _print_scores(sources, scores, flag_values.method)
    print(f"wrote {', '.join(str(out / f'{kind}.csv') for kind in kinds)} and {out / 'blend.json'}")


def read_member(path: str) -> Member:
    """Reads a run folder or one CSV. Raises UserError where there is neither."""
    if not Path(path).is_dir():
        predictions = read_predictions(path)
        kind = "test" if predictions.target is None else "oof"
        return Member(path, {kind: Path(path)}, {kind: predictions})
    paths = {kind: Path(path) / f"{kind}.csv" for kind in KINDS if (Path(path) / f"{kind}.csv").exists()}
    if not paths:
        raise UserError(f"{path} has neither oof.csv nor test.csv; give a finished run folder or a CSV")
    return Member(path, paths, {kind: read_predictions(file) for kind, file in paths.items()})


def _parse_weights(texts: list[str] | None) -> list[float] | None:
    try:
        return [float(text) for text in texts] if texts else None
    except ValueError as error:
        raise UserError(f"--weights={','.join(texts or [])}: must be numbers, such as 0.5,0.5") from error


def _scored(members: list[Member], blended: dict[str, Predictions]) -> list[tuple[Predictions | None, str]]:
    scored = [(member.predictions.get("oof"), member.source) for member in members]
    return [*scored, (blended.get("oof"), "the blend")]


def _auc(predictions: Predictions | None, source: str, table) -> metrics.Interval | None:
    if predictions is None or predictions.target is None:
        return None
    metrics.require_two_classes(predictions.target, source)
    patients = None if table is None else tables.rows_of(predictions.image_name, table, source)["patient_id"].to_numpy()
    return metrics.auc_interval(predictions.target, predictions.probability, patients)


def _summary(method: str, weights: list[float] | None, members: list[Member], scores: list) -> dict:
    shares = ensemble.checked_weights(weights, len(members))
    auc = lambda interval: interval and dataclasses.asdict(interval)  # noqa: E731
    return {
        "method": method,
        "members": [
            {
                "path": member.source,
                "weight": float(share),
                "sha256": {kind: files.sha256(path.read_bytes()) for kind, path in member.paths.items()},
                "auc": auc(score),
            }
            for member, share, score in zip(members, shares, scores)
        ],
        "auc": auc(scores[-1]),
    }


def _write(out: Path, members: list[Member], blended: dict[str, Predictions], summary: dict) -> None:
    for kind in KINDS:
        if kind in blended:
            blended[kind].write(out / f"{kind}.csv")
        else:  # what an earlier blend left there would pass for a part of this one
            (out / f"{kind}.csv").unlink(missing_ok=True)
    files.write_json(out / "blend.json", summary)


def _print_scores(sources: list[str], scores: list, method: str) -> None:
    labels = [*sources, f"blend ({method})"]
    width = max(map(len, labels))
    for label, score in zip(labels, scores):
        print(f"{label:<{width}}  {score or 'no truth known'}")
