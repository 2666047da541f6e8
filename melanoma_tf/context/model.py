"""The small model that judges an image by its score and its context, fitted and cross-fitted by patient."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from melanoma_tf.context.features import SCORE, Reference, context_features, fit_reference, stacked_scores
from melanoma_tf.cross_fit import cross_fitted, patient_folds
from melanoma_tf.metrics import require_two_classes
from melanoma_tf.schema import PATIENT

LogOdds = Callable[[pd.DataFrame], np.ndarray]
HINGES = (0.9, 0.98)  # quantiles of the score above which its slope may change; melanoma is in the upper tail
PENALTY = 0.1  # C of scikit-learn, on standardised features
TREES = {
    "max_iter": 250, "learning_rate": 0.04, "max_leaf_nodes": 4, "min_samples_leaf": 60, "l2_regularization": 10.0,
    "max_features": 0.4, "early_stopping": False,
}  # fmt: skip


@dataclass(frozen=True)
class ContextSettings:
    """What the model may look at and how long it averages.

    Attributes: single, extremes, shortcuts, embeddings: as of `context_features`. seeds: boosted models to average.
    """

    single: bool = False
    extremes: bool = False
    shortcuts: bool = False
    seeds: int = 3
    embeddings: bool = False


DEFAULT = ContextSettings()


@dataclass(frozen=True)
class ContextModel:
    """What `fit_context` returns: the reference and the fitted models, of which the log odds are averaged.

    Attributes: models, for images with companions; alone, for the patient's only image, or None where settings.single.
    """

    settings: ContextSettings
    reference: Reference
    models: tuple[LogOdds, ...]
    alone: ContextModel | None

    def judge(self, scores: np.ndarray, table: pd.DataFrame) -> np.ndarray:
        """Probability of melanoma, float64[N]; arguments as of `context_features`, all images of a patient together."""
        stacked = stacked_scores(scores, table)
        features = context_features(stacked, table, self.reference, **_which(self.settings))
        judged = expit(np.mean([model(features) for model in self.models], axis=0))
        only = ~table[PATIENT].duplicated(keep=False).to_numpy()
        if self.alone is not None and only.any():
            judged[only] = self.alone.judge(stacked[:, only], table[only])
        return judged


def _which(settings: ContextSettings) -> dict[str, bool]:
    return {name: getattr(settings, name) for name in ("single", "extremes", "shortcuts", "embeddings")}


def fit_context(
    scores: np.ndarray, table: pd.DataFrame, target: np.ndarray, settings: ContextSettings = DEFAULT
) -> ContextModel:
    """Fits a model of the features of `context_features`: mean log odds of a logistic regression and boosted trees.

    Args: scores float64[N] or [K,N] and table as of `context_features`; they should be out-of-fold, or the model learns
      how sure the members are of what they have seen. target int[N] of 0 and 1.

    The patient's only image is judged by a model without companions: to have none is no finding. In the trees the
    probability never falls where the score alone rises.
    Raises: UserError as `context_features`, and for one class only.
    """
    require_two_classes(np.asarray(target), "patient context")
    reference = fit_reference(scores, table)
    features = context_features(scores, table, reference, **_which(settings))
    models = (fit_logistic(features, target), *(fit_trees(features, target, seed) for seed in range(settings.seeds)))
    # The trees together weigh as much as the regression.
    weighted = (models[0],) * settings.seeds + models[1:] if settings.seeds else models
    as_alone = dataclasses.replace(settings, single=True)
    alone = None if settings.single else fit_context(scores, table, target, as_alone)
    return ContextModel(settings, reference, weighted, alone)


def fit_logistic(features: pd.DataFrame, target: np.ndarray) -> LogOdds:
    """Log odds by ridge-penalised logistic regression; an unknown value counts as the median one."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    bends = np.quantile(features[SCORE], HINGES)

    def expanded(features: pd.DataFrame) -> np.ndarray:
        score = features[SCORE].to_numpy()
        age = features["age"].to_numpy()
        hinges = [np.maximum(score - bend, 0.0) for bend in bends]
        curved = [score * np.abs(score), (age - 50.0) ** 2, np.maximum(age - 65.0, 0.0)]
        return np.column_stack([features.to_numpy(), *hinges, *curved])

    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    model = make_pipeline(imputer, StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000))
    model.fit(expanded(features), target)
    return lambda features: model.decision_function(expanded(features))


def fit_trees(features: pd.DataFrame, target: np.ndarray, seed: int) -> LogOdds:
    """Log odds by boosted trees, few and small, never falling in the score.

    In one thread: on so little data threads wait for each other, for minutes where the cores have other work.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    rising = [direction(name) for name in features.columns]
    model = HistGradientBoostingClassifier(**TREES, monotonic_cst=rising, random_state=seed)
    with threadpool_limits(limits=1):
        model.fit(features.to_numpy(), target)

    def log_odds(features: pd.DataFrame) -> np.ndarray:
        with threadpool_limits(limits=1):
            return model.decision_function(features.to_numpy())

    return log_odds


def direction(feature: str) -> int:
    """1 where the probability must not fall with the feature, -1 where it must not rise, 0 where it is free."""
    if feature == "share_above":
        return -1
    return int(feature == SCORE or feature.startswith(("over_", "member_", "ugly_")))


@dataclass(frozen=True)
class Judged:
    """Cross-fitted probabilities, float64[N] each.

    Attributes: context: as the settings say. single: without the patient's other images, by the same folds.
    """

    context: np.ndarray
    single: np.ndarray


def judge_folds(
    scores: np.ndarray, table: pd.DataFrame, target: np.ndarray, fold: np.ndarray,
    settings: ContextSettings = DEFAULT,
) -> Judged:  # fmt: skip
    """Judges every fold by a model fitted on the others. Arguments as of `fit_context`; fold int[N], whole patients."""
    stacked, target = stacked_scores(scores, table), np.asarray(target)
    single = np.empty(len(target))

    def fit(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        model = fit_context(stacked[:, rows], table.iloc[rows], target[rows], settings)

        def judge(held_out: np.ndarray) -> np.ndarray:
            given = stacked[:, held_out], table.iloc[held_out]
            single[held_out] = (model.alone or model).judge(*given)
            return model.judge(*given)

        return judge

    return Judged(cross_fitted(fit, fold), single)


def cross_fitted_context(
    scores: np.ndarray, table: pd.DataFrame, target: np.ndarray, settings: ContextSettings = DEFAULT,
    folds: int = 5, seed: int = 2020,
) -> np.ndarray:  # fmt: skip
    """Probability of melanoma of every image, float64[N], by models that saw no image of its patient.

    Args: as of `fit_context`; folds: number of patient folds; seed: of `patient_folds`.
    The labels of a patient have no effect on the scores of that patient's images, for given folds.
    Raises: UserError as `fit_context`, and for fewer patients with a melanoma than folds.
    """
    require_two_classes(np.asarray(target), "patient context")
    fold = patient_folds(target, table[PATIENT].to_numpy(object), folds, seed)
    return judge_folds(scores, table, target, fold, settings).context
