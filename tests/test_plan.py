"""Who trains and who validates in each fold."""

import types

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("tensorflow")

from melanoma_tf.errors import UserError
from melanoma_tf.train.plan import plan_folds

#            0    1    2    3    4    5    6    7
PATIENT = ["a", "a", "b", "c", "d", "a", "x", "y"]
SOURCE = ["2020", "2020", "2020", "2020", "2020", "ham", "ham", "ham"]
TARGET = [0, 1, 0, 1, 0, 0, 1, 0]
FOLD = [0, 0, 0, 1, 1, 0, 1, -1]


class Images(types.SimpleNamespace):
    def __len__(self):
        return len(self.target)


def images(**columns):
    table = pd.DataFrame({"patient_id": PATIENT, "source": SOURCE} | columns)
    return Images(table=table, target=np.array(TARGET, np.float32))


def rows(plan):
    return [(one.name, one.train_rows.tolist(), one.valid_rows.tolist()) for one in plan]


def test_each_fold_validates_once_and_unused_images_never(tmp_path):
    plan = plan_folds("", np.array(FOLD), images(), tmp_path)
    assert rows(plan) == [("0", [3, 4, 6], [0, 1, 2, 5]), ("1", [0, 1, 2, 5], [3, 4, 6])]
    assert [one.folder.name for one in plan] == ["fold_0", "fold_1"]


def test_sources_that_only_train_do_so_in_every_fold_but_their_patients(tmp_path):
    plan = plan_folds("", np.array(FOLD), images(), tmp_path, "ham")
    # 5 is of patient a, who validates in fold 0; 6 trains in both; 7 is unused.
    assert rows(plan) == [("0", [3, 4, 6], [0, 1, 2]), ("1", [0, 1, 2, 5, 6], [3, 4])]


@pytest.mark.parametrize("train_only, message", [
    ("isic", "data.train_only=isic: no image of source 'isic'; "),
    ("ham,2019", "no image of source '2019'; valid: 2020, ham"),
    ("ham, 2020", "fold 0"),
])  # fmt: skip
def test_sources_that_cannot_be(tmp_path, train_only, message):
    with pytest.raises(UserError, match=message):
        plan_folds("", np.array(FOLD), images(), tmp_path, train_only)


def test_a_table_without_sources(tmp_path):
    given = images()
    given.table = given.table.drop(columns="source")
    with pytest.raises(UserError, match="the table has no column 'source'"):
        plan_folds("0", np.array(FOLD), given, tmp_path, "ham")
