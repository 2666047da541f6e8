"""The members of a blend: read, told apart into out-of-fold and test, and brought to the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from melanoma_tf.ensemble.reading import PredictionFile, read_prediction_file, short_names
from melanoma_tf.errors import UserError
from melanoma_tf.predictions import Predictions

KINDS = ("oof", "test")


@dataclasses.dataclass(frozen=True)
class Member:
    """A member of a blend.

    Attributes: source, as the user named it. paths and predictions: per kind (`oof`, `test`). patients: of the rows of
      oof by image name, {} where the file has none. notes: what was read in an unusual way.
    """

    source: str
    paths: dict[str, Path]
    predictions: dict[str, Predictions]
    patients: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_members(
    paths: Sequence[str], test_paths: Sequence[str] | None = None, table: pd.DataFrame | None = None
) -> list[Member]:
    """Reads run folders or CSV files, and their test files where those are told apart.

    Args: paths: run folders (oof.csv and test.csv are taken) or CSV files. test_paths: one CSV per member, or None.
      table: with `image_name` and `target`: images in it are out-of-fold ones, and their truth is the table's.
    Raises: UserError for a file that cannot be read (`reading`), or not placed, or that contradicts the table.
    """
    for path in (path for path in paths if list(paths).count(path) > 1):
        raise UserError(f"{path} is given twice; a member counts once (--weights for more)")
    members = [_read_member(path, table) for path in paths]
    if test_paths is None:
        return members
    if len(test_paths) != len(members):
        raise UserError(f"{len(test_paths)} test files for {len(members)} members; give one per member, in their order")
    return [_with_test(member, path, table) for member, path in zip(members, test_paths)]


def _read_member(path: str, table: pd.DataFrame | None) -> Member:
    known = () if table is None else table["image_name"]
    if not Path(path).is_dir():
        file = read_prediction_file(path, known)
        kind = _kind(path, file.predictions, table)
        return _member(path, {kind: Path(path)}, {kind: file}, table)
    paths = {kind: Path(path) / f"{kind}.csv" for kind in KINDS if (Path(path) / f"{kind}.csv").exists()}
    if not paths:
        raise UserError(f"{path} has neither oof.csv nor test.csv; give a finished run folder or a CSV")
    return _member(path, paths, {kind: read_prediction_file(file, known) for kind, file in paths.items()}, table)


def _kind(path: str, predictions: Predictions, table: pd.DataFrame | None) -> str:
    if table is None or predictions.target is not None:
        return "test" if predictions.target is None else "oof"
    known = np.isin(predictions.image_name.astype(str), table["image_name"].to_numpy(str))
    if 0 < known.sum() < len(known):
        raise UserError(f"{path}: {predictions.image_name[~known][0]} is not in the table ({int((~known).sum())} of "
                        f"{len(known)} images are not); valid are images of the table, or none of them")  # fmt: skip
    return "oof" if known.any() else "test"


def _member(source: str, paths: dict[str, Path], read: dict[str, PredictionFile], table: pd.DataFrame | None) -> Member:
    predictions = {kind: file.predictions for kind, file in read.items()}
    oof = read.get("oof")
    patients = {}
    if oof is not None:
        predictions["oof"] = _with_truth(str(paths["oof"]), oof.predictions, table)
        if oof.patients is not None:
            patients = dict(zip(oof.predictions.image_name, oof.patients))
    notes = tuple(f"{paths[kind]}: {note}" for kind, file in read.items() for note in file.notes)
    return Member(source, paths, predictions, patients, notes)


def _with_truth(path: str, predictions: Predictions, table: pd.DataFrame | None) -> Predictions:
    if table is None:
        return predictions
    position = pd.Index(table["image_name"].to_numpy(object)).get_indexer(predictions.image_name)
    if (position < 0).any():
        missing = predictions.image_name[position < 0]
        raise UserError(f"{path}: {missing[0]} is not in the table ({len(missing)} of {len(position)} images are not); "
                        f"give the table of the training")  # fmt: skip
    truth = table["target"].to_numpy(np.int8)[position]
    if predictions.target is not None and (predictions.target != truth).any():
        differs = predictions.target != truth
        raise UserError(f"{path}: target of {predictions.image_name[differs][0]} is not that of the table "
                        f"({int(differs.sum())} of {len(differs)} differ); they must be the same data")  # fmt: skip
    return dataclasses.replace(predictions, target=truth)


def _with_test(member: Member, path: str, table: pd.DataFrame | None) -> Member:
    file = read_prediction_file(path)
    training = set() if table is None else set(table["image_name"])
    training |= set(member.predictions["oof"].image_name) if "oof" in member.predictions else set()
    training |= set(short_names(pd.Series(sorted(training), dtype=object)))  # as the file's names are
    known = training.intersection(file.predictions.image_name)
    if known:
        raise UserError(f"{path}: {min(known)} is an image of the training ({len(known)} are); "
                        f"--test_members takes predictions of test images")  # fmt: skip
    return dataclasses.replace(
        member,
        paths={**member.paths, "test": Path(path)},
        predictions={**member.predictions, "test": file.predictions},
        notes=(*member.notes, *(f"{path}: {note}" for note in file.notes)),
    )


def on_same_images(members: Sequence[Member], kind: str, shared: bool) -> tuple[list[Member], str]:
    """The members with their rows of `kind` in the order of the first, and a note where some were left out.

    Args: shared: keep what all members have instead of refusing different images.
    Raises: UserError with the counts, naming the member, for different images, or for no shared one.
    """
    every = [member.predictions[kind] for member in members]
    common = set(every[0].image_name).intersection(*(one.image_name for one in every[1:]))
    names = np.array([name for name in every[0].image_name if name in common], object)
    if any(len(one) != len(names) for one in every):
        _check_shared(members, kind, common, shared)
    kept = [
        dataclasses.replace(member, predictions={**member.predictions, kind: _rows(one, names)})
        for member, one in zip(members, every)
    ]
    left_out = ", ".join(
        f"{len(one) - len(names):,} of {member.source}" for member, one in zip(members, every) if len(one) > len(names)
    )
    return kept, f"{kind}: the {len(names):,} images that all members have; left out {left_out}" if left_out else ""


def _rows(predictions: Predictions, names: np.ndarray) -> Predictions:
    position = pd.Index(predictions.image_name).get_indexer(names)
    take = lambda value: None if value is None else value[position]  # noqa: E731
    return Predictions(names, predictions.probability[position], take(predictions.target), take(predictions.fold))


def _check_shared(members: Sequence[Member], kind: str, common: set[str], shared: bool) -> None:
    counts = ", ".join(f"{len(member.predictions[kind]):,} in {member.paths[kind]}" for member in members)
    if not common:
        raise UserError(f"the members share no {kind} image: {counts}; they must be of the same data")
    if not shared:
        least = min(members, key=lambda member: len(member.predictions[kind]))
        every = {name for member in members for name in member.predictions[kind].image_name}
        missing = min(every - set(least.predictions[kind].image_name))
        raise UserError(f"the members have different {kind} images: {counts}, such as {missing}, which "
                        f"{least.paths[kind]} lacks; --shared blends the {len(common):,} that all have")  # fmt: skip


def common_truth(members: Sequence[Member]) -> np.ndarray | None:
    """int8[N] of aligned out-of-fold rows, None where no member knows it. Raises UserError where two contradict."""
    truths = [(member, member.predictions["oof"].target) for member in members]
    known = [(member, target) for member, target in truths if target is not None]
    for member, target in known[1:]:
        differs = np.not_equal(target, known[0][1])
        if differs.any():
            name = member.predictions["oof"].image_name[differs][0]
            raise UserError(f"target of {name} differs between {known[0][0].source} and {member.source} "
                            f"({int(differs.sum())} of {len(differs)}); they must be the same data")  # fmt: skip
    return known[0][1] if known else None


def known_patients(members: Sequence[Member], names: np.ndarray, table: pd.DataFrame | None) -> np.ndarray | None:
    """str[N], the patient of every image, from the table or else from the first member that tells, or None."""
    if table is not None and (table["patient_id"] != table["image_name"]).any():
        return table.set_index("image_name")["patient_id"].reindex(names).to_numpy(object)
    told = next((member.patients for member in members if member.patients), None)
    return None if told is None else np.array([told[name] for name in names], object)
