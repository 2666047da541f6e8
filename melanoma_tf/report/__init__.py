"""One self-contained HTML page about a run: how good, how sure, on whom, and what it was made from."""

from melanoma_tf.report.contents import Evaluation, Run, evaluate, read_run, table_of_run
from melanoma_tf.report.examples import HeatMap, choose_examples
from melanoma_tf.report.page import build_report

__all__ = [
    "Evaluation", "HeatMap", "Run", "build_report", "choose_examples", "evaluate", "read_run", "table_of_run",
]  # fmt: skip
