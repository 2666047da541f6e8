"""Makes probabilities of scores, and decisions of probabilities.

Fits calibrations on out-of-fold predictions, takes the one with the lowest log loss on held-out patients, and tells
thresholds for wanted sensitivities, net benefit and conformal sets. Writes oof.csv (every image calibrated without its
patient), test.csv where --test is given, and calibration.json, which --apply takes for new files.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from melanoma_tf import files
from melanoma_tf.command_line import CommandFlags, boolean_flag, integer_flag, list_flag, text_flag
from melanoma_tf.commands.known_images import hashes, read_known_images
from melanoma_tf.ensemble.reading import read_prediction_file
from melanoma_tf.errors import UserError, nearest
from melanoma_tf.metrics import Interval

WRITTEN = ("oof.csv", "test.csv", "calibration.json")
AUTO = "auto"


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "predictions", None, "out-of-fold predictions; with --apply, of any images", required=True)
    text_flag(flag_values, "table", None, "the images' table: image_name, patient_id, target; needed without --apply")
    text_flag(flag_values, "out", None, "folder to write", required=True)
    text_flag(flag_values, "test", None, "predictions of test images, to be calibrated too")
    text_flag(flag_values, "apply", None, "calibration.json of an earlier call: writes test.csv of --predictions")
    text_flag(flag_values, "method", AUTO, "auto chooses; or none, temperature, platt, beta, isotonic")
    text_flag(flag_values, "prevalence", None, "share of melanoma where the probabilities will be used, such as 0.005")
    list_flag(flag_values, "sensitivities", "wanted sensitivities of thresholds; without, 0.8,0.9,0.95")
    text_flag(flag_values, "error", "0.1", "share of each class whose conformal set may lack the truth")
    integer_flag(flag_values, "folds", 5, "patient folds of the cross-fitting", lower_bound=2)
    boolean_flag(flag_values, "json", "print calibration.json and no sentences")
    boolean_flag(flag_values, "overwrite", "replace existing files")


def main(flag_values: CommandFlags) -> None:
    out = Path(flag_values.out)
    files.refuse_run(out)
    for name in WRITTEN if not flag_values.apply else ("test.csv",):
        files.refuse_overwrite(out / name, flag_values.overwrite)
    stated = _share("--prevalence", flag_values.prevalence) if flag_values.prevalence is not None else None
    if flag_values.apply:
        _apply(flag_values, out, stated)
    else:
        _fit(flag_values, out, stated)


def _share(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < 1:
        raise UserError(f"{flag} of {text!r} is not possible; valid is a number of more than 0 and less than 1")
    return value


def _apply(flag_values: CommandFlags, out: Path, stated: float | None) -> None:
    from melanoma_tf.calibration import shift_prevalence, stored

    for name in ("table", "test"):
        if flag_values[name].value:
            raise UserError(f"--apply takes --predictions and fits nothing; --{name} has no use beside it")
    record = stored.read_record(flag_values.apply)
    calibration = stored.stored_calibration(record, flag_values.apply)
    before, saved = (stored.stored_prevalence(record, name, flag_values.apply)
                     for name in ("prevalence", "stated_prevalence"))  # fmt: skip
    read = read_prediction_file(flag_values.predictions)
    judged, after = calibration(read.predictions.probability), stated or saved
    if after is not None:
        if before is None:
            raise UserError(f"{flag_values.apply} tells no prevalence, so that none can be shifted")
        judged = shift_prevalence(judged, before, after)
    dataclasses.replace(read.predictions, probability=judged).write(files.make_folder(out) / "test.csv")
    for note in read.notes:
        print(f"note: {note}")
    shifted = f", prevalence {before:.2%} to {after:.2%}" if after is not None else ""
    print(f"wrote {out / 'test.csv'}: {len(judged):,} images by {calibration.method} of {flag_values.apply}{shifted}")


def _fit(flag_values: CommandFlags, out: Path, stated: float | None) -> None:
    from melanoma_tf.calibration.study import METHODS, SENSITIVITIES, study_calibration

    if not flag_values.table:
        raise UserError("missing --table, which tells truth and patients; only --apply does without")
    if flag_values.method not in (AUTO, *METHODS):
        raise UserError(f"no calibration {flag_values.method!r}; {nearest(flag_values.method, (AUTO, *METHODS))}")
    wanted = [_share("--sensitivities", text) for text in flag_values.sensitivities or ()] or SENSITIVITIES
    error = _share("--error", flag_values.error)
    images = read_known_images(flag_values.predictions, flag_values.table)
    test = read_prediction_file(flag_values.test) if flag_values.test else None
    study = study_calibration(
        images.target, images.probability, images.patients,
        None if flag_values.method == AUTO else flag_values.method, wanted, error, stated, flag_values.folds,
    )  # fmt: skip
    written = {"oof.csv": dataclasses.replace(images.predictions, probability=study.calibrated.probability)}
    if test is not None:
        judged = study.judge(test.predictions.probability, stated)
        written["test.csv"] = dataclasses.replace(test.predictions, probability=judged)
    notes = [*images.notes, *(test.notes if test else ())]
    given = hashes({name: flag_values[name].value for name in ("predictions", "table", "test")})
    record = {**study.record, "inputs": given, "notes": notes}
    _write(files.make_folder(out), written, record)
    print(json.dumps(record, indent=2) if flag_values.json else "\n".join(sentences(record)))
    if not flag_values.json:
        print(f"wrote {', '.join(str(out / name) for name in (*written, WRITTEN[-1]))}")


def _write(out: Path, written: dict, record: dict) -> None:
    for name in WRITTEN[:2]:
        if name in written:
            written[name].write(out / name)
        else:  # an earlier command's would pass for a part of this one
            (out / name).unlink(missing_ok=True)
    files.write_json(out / WRITTEN[-1], record)


def sentences(record: dict) -> list[str]:
    """The record for a person, line by line."""
    parts = (_choice_lines, _compared_lines, _threshold_lines, _benefit_lines, _set_lines)
    lines = [line for part in parts for line in (*part(record), "")]
    return [*lines[:-1], *(f"note: {note}" for note in record["notes"])]


def _choice_lines(record: dict) -> list[str]:
    basis = Interval(**record["before"]["roc_auc"])
    lines = [
        f"{basis.images:,} images, {basis.positives:,} melanoma, {basis.clusters:,} patients",
        "method       log loss on held-out patients, and its difference to none [95 %]",
    ]
    for name, loss in record["log_loss"].items():
        gain = Interval(**record["gain"][name])
        difference = "" if name == "none" else f"  {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        lines.append(f"{name:<11}  {loss:.4f}{difference}")
    fitted = ", ".join(f"{name} {values[0]:.4g}" for name, values in record["parameters"].items() if len(values) == 1)
    return [*lines, f"taken: {record['method']}{f' ({fitted})' if fitted else ''}"]


def _compared_lines(record: dict) -> list[str]:
    from melanoma_tf.evaluation import METRICS

    lines = [f"{'':<29}{'before':<26}after, held-out patients"]
    for name in record["before"]:
        before, after = (_limits(record[when][name], "{:.4f}") for when in ("before", "after"))
        lines.append(f"{METRICS[name].label:<29}{before:<26}{after}")
    return lines


def _limits(interval: dict, form: str) -> str:
    return f"{form.format(interval['value'])} [{form.format(interval['low'])}, {form.format(interval['high'])}]"


def _whole_percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _percent(interval: dict) -> str:
    return f"{interval['value']:.1%} [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def _threshold_lines(record: dict) -> list[str]:
    stated = record["stated_prevalence"]
    scale = f"at a prevalence of {stated:.2%} (calibrated at {record['prevalence']:.2%})" if stated else "calibrated"
    lines = [
        f"thresholds on the probability, {scale}; on held-out patients [95 %]",
        f"wanted  {'threshold':<25}  where chosen  {'sensitivity':<19}  {'specificity':<19}  flagged  melanoma of them",
    ]
    for point in record["thresholds"]:
        shares = point.get("at_stated_prevalence") or {
            name: point[name] and point[name]["value"] for name in ("flagged", "precision")
        }
        precision = "-" if shares["precision"] is None else f"{shares['precision']:.1%}"
        lines.append(
            f"{_whole_percent(point['wanted']):<6}  {_limits(point['threshold'], '{:.4f}'):<25}  "
            f"{point['apparent_sensitivity']:<12.1%}  {_percent(point['sensitivity']):<19}  "
            f"{_percent(point['specificity']):<19}  {shares['flagged']:<7.1%}  {precision}"
        )
    return lines


def _benefit_lines(record: dict) -> list[str]:
    curve = record["decision_curve"]
    lines = [
        f"net benefit per 1,000 images at a prevalence of {curve['prevalence']:.2%}: melanoma found, less benign",
        "excisions, each worth what the threshold says",
        "excise from  this model [95 %]     excise all  none",
    ]
    columns = (curve[name] for name in ("thresholds", "model", "low", "high", "treat_all"))
    for at, model, low, high, every in zip(*columns):
        limits = f"{1000 * model:.2f} [{1000 * low:.2f}, {1000 * high:.2f}]"
        lines.append(f"{_whole_percent(at):<11}  {limits:<21}  {1000 * every:<10.2f}  0")
    return lines


def _set_lines(record: dict) -> list[str]:
    sets = record["conformal"]
    shares = ", ".join(f"{name} {share['value']:.1%}" for name, share in sets["shares"].items())
    return [
        f"conformal sets that may miss {_whole_percent(sets['error'])} of each class: "
        f"melanoma from {sets['melanoma_from']:.4f} on, benign up to {sets['benign_to']:.4f}",
        f"held-out sets hold the truth of {_percent(sets['coverage']['melanoma'])} of melanoma and of "
        f"{_percent(sets['coverage']['benign'])} of benign images",
        f"kinds of sets of these images: {shares}",
    ]
