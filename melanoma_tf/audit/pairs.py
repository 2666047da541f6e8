"""Pairs of images that show one lesion, known or found: do they stand on two sides of a split?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pandas as pd

from melanoma_tf.audit.finding import EXAMPLES, LEAK, OK, WARNING, Finding, counted, skipped
from melanoma_tf.audit.pool import EXTERNAL, TEST, TRAIN
from melanoma_tf.fold_counts import UNUSED

Pair = tuple[str, str, float]  # two image names and how alike they are, 1 for the same


def check_pairs(
    section: str, pairs: Sequence[Pair], pool: pd.DataFrame, *, has_folds: bool, separated: str = LEAK
) -> list[Finding]:
    """How many pairs there are, and which of them a split tears apart.

    Args:
      pairs: of which those with an image that the pool lacks are left out.
      pool: of `make_pool`. has_folds: whether its folds are those of training.
      separated: the verdict on a pair that is torn apart; pairs that are only alike deserve a WARNING.
    """
    joined = _join(pairs, pool)
    findings = [_number(section, joined, len(pairs), has_folds, separated)]
    both_train = (joined["role_a"] == TRAIN) & (joined["role_b"] == TRAIN)
    used = (joined["fold_a"] != UNUSED) & (joined["fold_b"] != UNUSED)
    if has_folds:
        apart = joined[both_train & used & (joined["fold_a"] != joined["fold_b"])]
        findings.append(_torn(section, "pairs over folds", apart, separated))
    else:
        findings.append(skipped(section, "pairs over folds", "needs --folds"))
    present = set(pool["role"])
    for one, other in itertools.combinations((TRAIN, TEST, EXTERNAL), 2):
        if {one, other} <= present:
            between = joined[_between(joined, one, other) & ~_dropped(joined, has_folds)]
            findings.append(_torn(section, f"pairs between {one} and {other}", between, separated))
    differ = joined["target_a"].notna() & joined["target_b"].notna() & (joined["target_a"] != joined["target_b"])
    findings.append(counted(section, "pairs with two targets", _written(joined[differ], "target"), WARNING))
    return findings


def _join(pairs: Sequence[Pair], pool: pd.DataFrame) -> pd.DataFrame:
    """One row a pair, with the columns of the pool for both images under _a and _b."""
    table = pd.DataFrame(list(pairs), columns=["a", "b", "alike"])
    table = table[table["a"].isin(pool.index) & table["b"].isin(pool.index)]
    sides = [pool.loc[table[side]].add_suffix(f"_{side}").reset_index(drop=True) for side in ("a", "b")]
    return pd.concat([table.reset_index(drop=True), *sides], axis=1)


def _number(section: str, joined: pd.DataFrame, given: int, has_folds: bool, separated: str) -> Finding:
    """Without folds to judge, pairs of two patients are a warning: a split by patient would tear them apart."""
    across = joined[(joined["patient_id_a"] != joined["patient_id_b"])]
    note = f"{len(across):,} of two patients" if len(across) else "all of one patient each" if len(joined) else ""
    if len(joined) < given:
        note = "; ".join(filter(None, [note, f"{given - len(joined):,} more with an image in no table"]))
    at_risk = len(across) and not has_folds
    shown = across if len(across) else joined
    verdict = WARNING if at_risk or (len(across) and separated == WARNING) else OK
    return Finding(section, "pairs", verdict, len(joined), tuple(_written(shown, "place")[:EXAMPLES]), note)


def _torn(section: str, check: str, apart: pd.DataFrame, separated: str) -> Finding:
    return counted(section, check, _written(apart, "place"), separated)


def _between(joined: pd.DataFrame, one: str, other: str) -> pd.Series:
    forth = (joined["role_a"] == one) & (joined["role_b"] == other)
    return forth | ((joined["role_a"] == other) & (joined["role_b"] == one))


def _dropped(joined: pd.DataFrame, has_folds: bool) -> pd.Series:
    """Whether one of the two is a training image that no fold uses."""
    found = pd.Series(False, joined.index)
    for side in ("a", "b"):
        found |= has_folds & (joined[f"role_{side}"] == TRAIN) & (joined[f"fold_{side}"] == UNUSED)
    return found


def _written(joined: pd.DataFrame, column: str) -> list[str]:
    """Each pair as text, with the values of a column where they differ."""
    found = []
    for a, b, left, right in zip(joined["a"], joined["b"], joined[f"{column}_a"], joined[f"{column}_b"]):
        if left == right:
            found.append(f"{a} = {b}")
        else:
            found.append(f"{a} ({_short(left)}) = {b} ({_short(right)})")
    return found


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
