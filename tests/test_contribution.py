"""What each member adds: the blend with it against the blend without it."""

import numpy as np
import pytest
from scipy.special import expit

from melanoma_tf import ensemble, paired
from melanoma_tf.ensemble.contribution import added_by_each
from melanoma_tf.ensemble.members import Member
from melanoma_tf.predictions import Predictions

IMAGES = 800


def _members(*signals):
    generator = np.random.default_rng(0)
    target = (generator.random(IMAGES) < 0.2).astype(int)
    names = [f"ISIC_{number}" for number in range(IMAGES)]
    scores = [expit(signal * target + generator.normal(size=IMAGES)) for signal in signals]
    members = [Member(f"m{k}", {}, {"oof": Predictions(names, score, target)}) for k, score in enumerate(scores)]
    return members, target, np.arange(IMAGES) // 4


def test_of_two_members_each_adds_the_blend_minus_the_other():
    members, target, patients = _members(1.0, 1.0)
    scores = ensemble.stacked(members, "oof")
    first, second = added_by_each(members, "mean", None, target, patients)
    assert first == paired.auc_difference(target, scores[1], scores.mean(0), patients)
    assert second == paired.auc_difference(target, scores[0], scores.mean(0), patients)
    assert first.low > 0


def test_weights_of_the_others_stay():
    members, target, patients = _members(1.0, 0.8, 0.5)
    scores = ensemble.stacked(members, "oof")
    gain = added_by_each(members, "mean", [0.6, 0.3, 0.1], target, patients)[0]
    without, every = (0.75 * scores[1] + 0.25 * scores[2]), 0.6 * scores[0] + 0.3 * scores[1] + 0.1 * scores[2]
    assert gain.value == pytest.approx(paired.auc_difference(target, without, every, patients).value, abs=1e-12)


@pytest.mark.parametrize("method", ["rank", "stacking"])
def test_noise_adds_nothing_and_signal_does(method):
    members, target, patients = _members(1.0, 1.0, 0.0)
    good, other, noise = added_by_each(members, method, None, target, patients)
    assert min(good.low, other.low) > 0
    assert noise.value < 0.005
