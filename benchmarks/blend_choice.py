"""Whether `--method=auto` chooses well: simulated members where different blends are right.

    python benchmarks/blend_choice.py [--images=33126] [--seeds=1] [--scenarios=equal,poor,...]

Per scenario: the nested cross-fitted AUC that `auto` would print, what it chose, and what that blend is worth on as
many images of new patients, beside the blend that was best there, which only a simulation can know. Prints one JSON
object last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
from scipy.special import expit
from threadpoolctl import threadpool_limits

from melanoma_tf import metrics
from melanoma_tf.cross_fit import patient_folds
from melanoma_tf.ensemble import choice

RATE = 0.0176
IMAGES_PER_PATIENT = 16


def draw(images: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Patients of various risk, their images, and three independent signs of melanoma as `evidence` float64[3,N]."""
    patient = generator.integers(0, max(images // IMAGES_PER_PATIENT, 10), images)
    risk = generator.gamma(0.5, 2.0, patient.max() + 1)[patient]
    target = (generator.random(images) < RATE * risk).astype(int)
    shared = 0.5 * generator.normal(size=(3, patient.max() + 1))[:, patient]
    evidence = np.array([1.5, 1.0, 0.8])[:, None] * target + shared + generator.normal(size=(3, images))
    return {"patient": patient, "target": target, "evidence": evidence}


def member(world, generator, shares, noise=0.6, offset=-4.0, slope=1.5) -> np.ndarray:
    """A model that weighs the three signs by `shares`, with noise of its own."""
    shares = np.asarray(shares, float) / np.linalg.norm(shares)
    seen = shares @ world["evidence"] + noise * generator.normal(size=len(world["target"]))
    return expit(offset + slope * seen)


def equal(world, generator):
    return [member(world, generator, (1, 0.5, 0.5)) for _ in range(4)]


def poor(world, generator):
    good = [member(world, generator, shares, 0.4) for shares in ((1, 0.7, 0), (1, 0, 0.7))]
    return [*good, *(member(world, generator, (0.2, 0.2, 1), 3.0) for _ in range(5))]


def scales(world, generator):
    kinds = ((1.0, -2.0), (6.0, -15.0), (0.3, -1.0))
    return [member(world, generator, (1, 0.6, 0.6), 0.6, offset, slope) for slope, offset in kinds]


def unequal(world, generator):
    return [member(world, generator, shares, noise) for shares, noise in
            (((1, 0, 0), 0.2), ((0, 1, 0), 0.3), ((0, 0, 1), 0.3), ((1, 1, 1), 2.0))]  # fmt: skip


def gated(world, generator):
    """One model is blind where the first is unsure; a second one sees only there."""
    first = member(world, generator, (1, 0.3, 0), 0.3)
    unsure = np.abs(first - np.median(first)) < np.std(first)
    other = np.where(unsure, member(world, generator, (0, 1, 1), 0.2), member(world, generator, (0, 0, 1), 8.0))
    return [first, other, member(world, generator, (0.5, 1, 0), 1.0)]


def saturated(world, generator):
    """A network that is sure of everything: at 0 or 1 for most images in float32."""
    sure = member(world, generator, (1, 0.5, 0), 0.4, -30.0, 12.0).astype(np.float32).round(6).astype(float)
    return [sure, member(world, generator, (1, 0, 0.5), 0.6), member(world, generator, (0, 1, 1), 0.6)]


def four(world, generator):
    """As four published networks are: two good ones much alike, one different and a little worse, one old."""
    shared = 0.5 * generator.normal(size=len(world["target"]))
    alike = dict(world, evidence=world["evidence"] + shared)
    two = [member(alike, generator, shares, noise) for shares, noise in (((1, 0.8, 0.5), 0.2), ((1, 0.8, 0.6), 0.25))]
    return [*two, member(world, generator, (0.8, 0.4, 1), 0.7, -6, 2.5), member(world, generator, (1, 0, 0), 1.2)]


SCENARIOS = {one.__name__: one for one in (equal, poor, scales, unequal, gated, saturated, four)}


def run(name: str, images: int, seed: int) -> dict:
    """One scenario: choose on one draw, judge on another one of new patients."""
    generator = np.random.default_rng([seed, *name.encode()])
    world, new = draw(images, generator), draw(images, generator)
    scores, fresh = (np.array(SCENARIOS[name](each, generator)) for each in (world, new))
    fold = patient_folds(world["target"], world["patient"])
    start = time.perf_counter()
    with threadpool_limits(1):  # as `melanoma-tf blend` has it
        chosen = choice.choose(scores, world["target"], fold)
        seconds = time.perf_counter() - start
        hindsight = {
            method: metrics.roc_auc(new["target"], choice.fit(method, scores, world["target"]).score(fresh))
            for method in choice.METHODS
        }
    best = max(hindsight, key=lambda method: hindsight[method])
    nested = metrics.auc_interval(world["target"], chosen.scores, world["patient"])
    print(f"{name:<10} auto {nested}  ({seconds:.0f} s)")
    print(f"{'':<10} chose {chosen.method}, on new patients {hindsight[chosen.method]:.4f}; best there {best} "
          f"{hindsight[best]:.4f}; mean {hindsight['mean']:.4f}", flush=True)  # fmt: skip
    return {
        "chosen": chosen.method,
        "folds": chosen.chosen,
        "nested": round(nested.value, 4),
        "apparent": round(metrics.roc_auc(world["target"], chosen.apparent), 4),
        "cross_fitted": {method: round(auc, 4) for method, auc in chosen.aucs.items()},
        "new_patients": {method: round(auc, 4) for method, auc in hindsight.items()},
        "behind_hindsight": round(hindsight[best] - hindsight[chosen.method], 4),
        "over_mean": round(hindsight[chosen.method] - hindsight["mean"], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=33126)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    arguments = parser.parse_args()
    found = {
        f"{name}/{seed}": run(name, arguments.images, seed)
        for name in arguments.scenarios.split(",")
        for seed in range(arguments.seeds)
    }
    behind = [one["behind_hindsight"] for one in found.values()]
    optimism = [one["nested"] - one["new_patients"][one["chosen"]] for one in found.values()]
    print(json.dumps({
        "scenarios": found, "mean_behind_hindsight": round(float(np.mean(behind)), 4),
        "worst_behind_hindsight": max(behind), "mean_nested_minus_new_patients": round(float(np.mean(optimism)), 4),
    }))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
