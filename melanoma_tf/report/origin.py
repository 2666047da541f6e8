"""The end of the page: how everything was made, the data and their licence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from melanoma_tf.report import markup
from melanoma_tf.report.contents import Run

HASH_LENGTH = 16  # characters shown of a SHA-256
LICENCE = (
    "Images and labels of the SIIM-ISIC 2020 challenge: CC BY-NC 4.0, not for commercial use. Cite: International Skin "
    "Imaging Collaboration, SIIM-ISIC 2020 Challenge Dataset, https://doi.org/10.34970/2020-ds01 (2020), and "
    "V. Rotemberg et al., A patient-centric dataset of images and metadata for identifying melanomas using clinical "
    "context, Scientific Data 8, 34 (2021). Other data have their own terms."
)


def how_it_was_made(runs: Sequence[Run], command: str) -> str:
    """Commands, files with their hashes, versions and settings; `command` is the one that made the page."""
    parts = []
    for run in runs:
        made, settings = _command(str(run.record.get("command", ""))), _origin(run)
        if len(runs) > 1 and (made or settings):
            parts.append(f'<h3 class="gap">{markup.text(run.name)}</h3>')
        parts += [made, markup.settings(settings) if settings else ""]
        parts.append(_configuration(run, runs[0]))
    if command:
        parts += ['<h3 class="gap">This page</h3>', _command(command)]
    parts = [part for part in parts if part]
    return markup.section("How it was made", "", *parts) if parts else ""


def _configuration(run: Run, first: Run) -> str:
    """All settings of the first run; of another one those that differ from the first's, where that has any."""
    settings = _flat(run.config)
    title = "Configuration"
    if run is not first and first.config:
        same = _flat(first.config)
        settings = {name: value for name, value in settings.items() if name not in same or same[name] != value}
        title = "Configuration, where it differs from the first run's"
    return f'<h3 class="gap">{title}</h3>{markup.settings(settings)}' if settings else ""


def data_and_licence() -> str:
    return markup.section("Data and licence", "", markup.note(LICENCE))


def _command(command: str) -> str:
    wrapped = command.replace(" --", " \\\n  --")
    return f"<pre>{markup.text(wrapped)}</pre>" if command else ""


def _origin(run: Run) -> dict[str, Any]:
    record = run.record
    folds = record.get("folds")
    folds = folds if isinstance(folds, dict) else {}
    values = {key: record[key] for key in ("data_dir", "train_csv", "test_csv") if record.get(key)}
    values |= {"folds": folds["path"]} if folds.get("path") else {}
    values |= {"folds sha256": str(folds["sha256"])[:HASH_LENGTH]} if folds.get("sha256") else {}
    values |= {"predictions sha256": run.sha256[:HASH_LENGTH]} if run.sha256 else {}
    versions = record.get("versions")
    return values | _flat(versions if isinstance(versions, dict) else {})


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
