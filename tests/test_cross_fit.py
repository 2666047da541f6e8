"""Cross-fitting: nobody is judged by a model that saw his patient; folds are even."""

import numpy as np
import pytest

from melanoma_tf.cross_fit import cross_fitted, patient_folds
from melanoma_tf.errors import UserError


def cohort(seed=0, patients=60):
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), random.integers(1, 20, patients))
    return (random.random(len(patient)) < 0.1).astype(int), patient


def test_patients_are_whole_and_melanoma_even():
    target, patient = cohort()
    fold = patient_folds(target, patient, 4)
    assert all(len(np.unique(fold[patient == one])) == 1 for one in np.unique(patient))
    assert np.ptp(np.bincount(fold, weights=target)) <= 1
    assert np.ptp(np.bincount(fold)) <= 4
    np.testing.assert_array_equal(fold, patient_folds(target, patient.astype(str), 4))
    assert (fold != patient_folds(target, patient, 4, seed=1)).any()


def test_a_fit_never_sees_what_it_judges():
    target, patient = cohort(1)
    fold = patient_folds(target, patient, 5)
    seen = []

    def fit(rows):
        def judge(held_out):
            assert not set(patient[rows]) & set(patient[held_out])
            seen.append(held_out)
            return held_out * 2.0

        return judge

    np.testing.assert_array_equal(cross_fitted(fit, fold), np.arange(len(patient)) * 2.0)
    assert len(seen) == 5


def test_too_few_patients_are_named():
    with pytest.raises(UserError, match="only 2 patients have a melanoma; 3 folds need 3"):
        patient_folds(np.array([1, 1, 1, 0, 0, 0]), np.array(list("aabcde")), 3)
