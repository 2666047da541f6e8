"""Exact metrics with patient-clustered intervals, of one model and of the difference of two. No TensorFlow.

`METRICS` is the registry: a metric is a function of `Weighted` and one line. `metrics_table` gives all of one model,
`metric_differences` those of two, `subgroups` the groups of patients and lesions to look into.
"""

from melanoma_tf.evaluation.differences import DIFFERENCES, metric_differences
from melanoma_tf.evaluation.resampling import bootstrap, patient_weights, share_intervals
from melanoma_tf.evaluation.sample import Sample, Weighted
from melanoma_tf.evaluation.subgroups import Subgroup, subgroups
from melanoma_tf.evaluation.table import METRICS, Metric, metrics_table

__all__ = [
    "DIFFERENCES", "METRICS", "Metric", "Sample", "Subgroup", "Weighted", "bootstrap",
    "metric_differences", "metrics_table", "patient_weights", "share_intervals", "subgroups",
]  # fmt: skip
