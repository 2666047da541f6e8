"""Forward selection over 95 members x 33,126 rows against the same selection with scikit-learn's AUC in a loop.

    python benchmarks/blend.py [--members=95] [--rows=33126] [--rounds=20] [--repeats=9]

Both take the same matrix of ranks and do the same complete rounds, in one process and one thread; the loop is run once
in full, ours `repeats` times, of which the median counts. Members are drawn: a sign of melanoma, what all networks take
for it, what those of one family take for it, and noise of their own, which gives pairs of members that correlate as
published ones do. Prints one JSON object last.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from melanoma_tf import metrics
from melanoma_tf.ensemble.selection import doubled_ranks, forward_selection

RATE = 584 / 33126
FAMILIES = 8


def draw_members(members: int, rows: int, seed: int = 2020) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64[members,rows] and the truth int[rows] with as many melanoma as the 2020 data have, 1.8 %."""
    generator = np.random.default_rng(seed)
    target = np.zeros(rows, int)
    target[generator.permutation(rows)[: round(RATE * rows)]] = 1
    evidence = 2.2 * target + generator.normal(size=rows)
    family = generator.normal(size=(FAMILIES, rows))
    scores = np.empty((members, rows))
    for member in range(members):
        own = generator.uniform(0.3, 0.8) * generator.normal(size=rows)
        scores[member] = evidence + generator.uniform(0.3, 0.6) * family[member % FAMILIES] + own
    return scores, target


def loop_selection(ranks: np.ndarray, target: np.ndarray, rounds: int) -> tuple[list[int], float]:
    """The picks up to the best round, and its AUC, by `sklearn.metrics.roc_auc_score` alone."""
    total, picks, aucs = np.zeros(ranks.shape[1], np.int64), [], []
    for number in range(rounds):
        found = [roc_auc_score(target, total + rank) for rank in ranks]
        picks.append(int(np.argmax(found)))
        aucs.append(found[picks[-1]])
        total += ranks[picks[-1]]
        print(f"loop: round {number + 1} of {rounds}, AUC {aucs[-1]:.6f}", file=sys.stderr, flush=True)
    best = int(np.argmax(aucs))
    return picks[: best + 1], aucs[best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("members", 95), ("rows", 33126), ("rounds", 20), ("repeats", 9)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    scores, target = draw_members(arguments.members, arguments.rows)
    aucs = [metrics.roc_auc(target, score) for score in scores]
    between = spearmanr(scores[: 2 * FAMILIES : 2].T).statistic
    start = time.perf_counter()
    ranks = doubled_ranks(scores)
    ranking = time.perf_counter() - start
    seconds = []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        ours = forward_selection(ranks, target, arguments.rounds)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    picks, auc = loop_selection(ranks, target, arguments.rounds)
    loop = time.perf_counter() - start
    median = float(np.median(seconds))
    print(json.dumps({
        "members": arguments.members, "rows": arguments.rows, "positives": int(target.sum()),
        "rounds": arguments.rounds, "member_auc": [round(min(aucs), 4), round(max(aucs), 4)],
        "rank_correlation": [round(float(value), 3) for value in (between.min(), np.sort(between.ravel())[-9])],
        "picks": len(ours.picks), "auc": round(max(ours.aucs), 6), "auc_sklearn_loop": round(auc, 6),
        "same_members": ours.picks == picks, "seconds": round(median, 4), "seconds_of_ranking": round(ranking, 3),
        "seconds_sklearn_loop": round(loop, 2), "ratio_sklearn_loop": round(loop / median, 1),
        "peak_rss_mb": round(peak),
    }))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
