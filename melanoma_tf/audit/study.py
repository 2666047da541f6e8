"""All checks in the order in which they are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from melanoma_tf.audit.finding import EXAMPLES, OK, WARNING, Finding, skipped
from melanoma_tf.audit.identity import check_identity
from melanoma_tf.audit.metadata import check_metadata
from melanoma_tf.audit.neighbours import Pair, embedding_neighbours, near_duplicates
from melanoma_tf.audit.pairs import check_pairs
from melanoma_tf.audit.pool import Tables, make_pool
from melanoma_tf.audit.shortcuts import check_groups, check_shortcuts
from melanoma_tf.audit.sketches import Seen

KNOWN, FOUND, ALIKE = "known duplicates", "near duplicates", "embedding neighbours"


@dataclass(frozen=True)
class Audited:
    """What came of an audit: one finding a line, and the near duplicates that were found among the images."""

    findings: list[Finding]
    pairs: list[Pair]


def audit(
    tables: Tables, known: Sequence[tuple[str, str]] | None = None, seen: Seen | None = None,
    embeddings: tuple[Sequence[str], np.ndarray] | None = None,
) -> Audited:  # fmt: skip
    """Runs every check for which there is something to check; the others are told as not checked.

    Args:
      tables: what is audited. known: pairs of image names that show one lesion. seen: the images of all tables.
      embeddings: names and float[N,D] of images of any of the tables.
    """
    pool, has_folds = make_pool(tables), tables.fold is not None
    findings = check_identity(tables)
    if known is None:
        findings.append(skipped(KNOWN, "pairs", "needs --duplicates"))
    else:
        findings += check_pairs(KNOWN, [(*pair, 1.0) for pair in known], pool, has_folds=has_folds)
    pairs = []
    if seen is None:
        findings.append(skipped(FOUND, "pairs", "needs --images or --data_dir"))
    else:
        findings.append(_coverage(FOUND, seen.names, tables, seen.unreadable))
        pairs = near_duplicates(seen.names, seen.sketches)
        findings += check_pairs(FOUND, pairs, pool, has_folds=has_folds)
    if embeddings is None:
        findings.append(skipped(ALIKE, "pairs", "needs --embeddings"))
    else:  # alike to a network is not the same lesion: never more than a warning
        findings.append(_coverage(ALIKE, embeddings[0], tables))
        alike = embedding_neighbours(*embeddings)
        findings += check_pairs(ALIKE, alike, pool, has_folds=has_folds, separated=WARNING)
    findings += check_metadata(tables)
    findings += check_shortcuts(tables.train, None if seen is None else seen.facts)
    findings += check_groups(tables.train)
    return Audited(findings, pairs)


def _coverage(section: str, names: Sequence[str], tables: Tables, unreadable: Sequence[str] = ()) -> Finding:
    """Whether all images were looked at; one that was not may be anybody's duplicate."""
    there = set(names)
    missing = [name for _, _, table in tables.parts() for name in table["image_name"] if name not in there]
    counts = [f"{table['image_name'].isin(there).sum():,} of {len(table):,} {called}"
              for _, called, table in tables.parts()]  # fmt: skip
    note = ", ".join(counts) + (f"; {len(unreadable):,} unreadable" if unreadable else "")
    shown = (*unreadable, *(name for name in missing if name not in unreadable))
    verdict = WARNING if missing else OK
    return Finding(section, "images not looked at", verdict, len(missing), shown[:EXAMPLES], note)
