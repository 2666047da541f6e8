"""What `melanoma-tf blend --context` adds: every image judged by the members and the patient's other images."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from melanoma_tf import ensemble, metrics, tables
from melanoma_tf.command_line import CommandFlags
from melanoma_tf.ensemble.blending import Blended
from melanoma_tf.ensemble.members import Member
from melanoma_tf.ensemble.scales import RankScale
from melanoma_tf.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

ONLY_HERE = {
    "test_csv": "is the table that --context asks", "embeddings": "are what --context compares images by",
    "test_embeddings": "are what --context compares images by",
}  # fmt: skip


def check_flags(flag_values: CommandFlags) -> None:
    """Raises UserError where flags do not go together, before anything long begins."""
    path = flag_values.table or flag_values.train_csv
    if flag_values.context and not path:
        raise UserError("--context needs --table, which tells which images are of one patient")
    for name, what in ONLY_HERE.items():
        if flag_values[name].value and not flag_values.context:
            raise UserError(f"--{name} {what}; without --context it tells nothing")
    if flag_values.context:
        for name, given in (("--table", path), ("--test_csv", flag_values.test_csv)):
            if given:
                tables.require_columns(tables.read_csv(given), ("image_name", "patient_id"), f"{name}={given}")


def read_rows(
    members: list[Member], kinds: list[str], target: np.ndarray | None, table: pd.DataFrame | None,
    flag_values: CommandFlags,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """By kind the rows of the members' images, with their embeddings where they are given; empty without --context.

    Raises: UserError where the members are not what it needs, before they are blended.
    """
    if not flag_values.context or table is None:  # `check_flags` asked for the table
        return {}
    if target is None:
        raise UserError("--context learns from out-of-fold predictions with their truth; give members that have them")
    test = members[0].predictions.get("test") if "test" in kinds else None
    if test is not None and not flag_values.test_csv:
        raise UserError("--context with predictions of test images needs --test_csv, their table with patient_id")
    if bool(flag_values.test_embeddings) != bool(flag_values.embeddings and test is not None):
        raise UserError("--test_embeddings belongs to --embeddings and predictions of test images: "
                        "give all three or none for the test")  # fmt: skip
    oof = members[0].predictions["oof"]
    rows = {"oof": _rows(oof.image_name, table, members[0].source, flag_values.embeddings)}
    if test is not None:
        path = flag_values.test_csv
        rows["test"] = _rows(test.image_name, tables.read_table(path, target=False), path, flag_values.test_embeddings)
    return rows


def _rows(image_name: np.ndarray, table: pd.DataFrame, source: str, embeddings: str | None) -> pd.DataFrame:
    from melanoma_tf.context.features import add_embeddings

    rows = tables.rows_of(image_name, table, source)
    return add_embeddings(rows, embeddings) if embeddings else rows


def in_context(
    members: list[Member], blended: Blended, rows: dict[str, pd.DataFrame]
) -> tuple[Blended, dict, list[str]]:
    """The blend with every image judged by members and companions, its record, and lines for a person.

    The model is fitted on the members and their mean rank, not on the blend: of that every image was scored with the
    truth of others, and a fold of the context model must not know its own truth by that way. rows: of `read_rows`.
    """
    from melanoma_tf.context import ContextSettings
    from melanoma_tf.context.features import EMBEDDING
    from melanoma_tf.context.study import Images, study_context
    from melanoma_tf.paired import auc_difference

    oof, scale = blended.predictions["oof"], RankScale(ensemble.stacked(members, "oof"))
    images = Images(_subject_first(members, "oof", scale), rows["oof"], np.asarray(oof.target, np.int64))
    study = study_context(images, ContextSettings(embeddings=EMBEDDING in rows["oof"]))
    predictions = {"oof": dataclasses.replace(oof, probability=study.scores)}
    if "test" in rows:
        judged = study.model.judge(_subject_first(members, "test", scale), rows["test"])
        predictions["test"] = dataclasses.replace(blended.predictions["test"], probability=judged)
    gain = auc_difference(images.target, oof.probability, study.scores, rows["oof"]["patient_id"].to_numpy(str))
    record = {**study.record, "difference_to_blend": dataclasses.asdict(gain)}
    return dataclasses.replace(blended, predictions=predictions), record, _sentences(record)


def _subject_first(members: list[Member], kind: str, scale: RankScale) -> np.ndarray:
    """float64[1+K,N]: the mean rank among the out-of-fold rows, then every member; one member alone is the subject."""
    scores = ensemble.stacked(members, kind)
    return scores if len(members) == 1 else np.vstack([scale(scores).mean(0), scores])


def _sentences(record: dict) -> list[str]:
    from melanoma_tf.paired import Difference

    lines = [f"with patient context  {metrics.Interval(**record['auc']['context'])}",
             f"difference to the blend  {Difference(**record['difference_to_blend'])}"]  # fmt: skip
    if record["difference_of_embeddings"]:
        lines.append(f"of it by the embeddings  {Difference(**record['difference_of_embeddings'])}")
    return lines
