"""What is wrong with a data set before anything is trained on it: leaks, contradictions, shortcuts.

A check is a function that gives `Finding`s; `study.audit` calls them all. Nothing here imports TensorFlow.
"""

from melanoma_tf.audit.finding import LEAK, OK, SKIPPED, WARNING, Finding
from melanoma_tf.audit.study import Audited, audit

__all__ = ["LEAK", "OK", "SKIPPED", "WARNING", "Audited", "Finding", "audit"]
