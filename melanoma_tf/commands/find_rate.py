"""Finds a learning rate: what the loss does while the rate goes up, and what that suggests.

The recipe's own training step on its own images, from the first weights; nothing else is written. --out names the
picture; the table lies beside it.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

from melanoma_tf.command_line import (
    CommandFlags,
    boolean_flag,
    integer_flag,
    number_flag,
    repeated_flag,
    text_flag,
)
from melanoma_tf.errors import UserError

MIN_STEPS, MAX_STEPS = 10, 100_000
INK, MUTED, RULE = "#1d2733", "#66717e", "#d9dee4"  # as on the report's page
LINE, FALL, SUGGESTED = "#1f6f78", "#b8862b", "#b4472b"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "text.color": INK, "lines.linewidth": 1.8, "axes.labelsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": RULE, "axes.labelcolor": MUTED,
    "axes.grid": True, "grid.color": "#eceff2", "grid.linewidth": 0.8, "axes.axisbelow": True, "xtick.color": MUTED,
    "ytick.color": MUTED, "xtick.major.size": 0, "ytick.major.size": 0, "legend.frameon": False, "legend.fontsize": 8.5,
}  # fmt: skip


def define_flags(flag_values: CommandFlags) -> None:
    text_flag(flag_values, "data_dir", None, "folder with the shards", required=True)
    text_flag(flag_values, "out", None, "picture to write, .png; the table gets the same name with .csv", required=True)
    text_flag(flag_values, "config", "b0_256", "recipe in melanoma_tf/configs/")
    repeated_flag(flag_values, "set", "setting=value of the recipe, such as train.optimizer=lamb")
    text_flag(flag_values, "train_csv", "", "table of the training images; without, DATA_DIR/train.csv")
    number_flag(flag_values, "low", 1e-6, "the first rate")
    number_flag(flag_values, "high", 1.0, "the last rate, where the loss does not burst before")
    integer_flag(flag_values, "steps", 100, f"training steps from one to the other: {MIN_STEPS} to {MAX_STEPS}")
    text_flag(flag_values, "strategy", "auto", "auto, one, mirrored, multi_worker or tpu")
    text_flag(flag_values, "tpu", "local", "name or address of the TPU")
    boolean_flag(flag_values, "overwrite", "replace existing files")


def main(flag_values: CommandFlags) -> None:
    from melanoma_tf import command_line, files
    from melanoma_tf import config as configuration

    picture = Path(flag_values.out)
    table = picture.with_suffix(".csv")
    _check(flag_values, picture)
    for path in (picture, table):
        files.refuse_overwrite(path, flag_values.overwrite)
    config = configuration.override(configuration.load_recipe(flag_values.config), flag_values.set)
    import matplotlib  # noqa: F401, before minutes of training and not after

    command_line.import_tensorflow_quietly()
    found = _test(flag_values, config)
    if found is None:  # of several processes one writes
        return
    files.make_folder(picture.parent)
    files.write_whole(table, to_csv(found))
    files.write_whole(picture, draw(found, f"{flag_values.config}, {config.train.optimizer}"))
    start, end = (found.rates[place] for place in found.valley)
    print(f"the loss falls from {start:.1e} to {end:.1e}; {picture}, {table}")
    print(f"suggested: --set train.learning_rate={found.suggestion:.1e}")


def _check(flag_values: CommandFlags, picture: Path) -> None:
    if picture.suffix.lower() != ".png":
        raise UserError(f"--out={picture}: expected the name of a .png file")
    if not 0 < flag_values.low < flag_values.high <= 1e6:
        raise UserError(f"--low={flag_values.low} --high={flag_values.high}: valid is 0 < low < high <= 1e6")
    if not MIN_STEPS <= flag_values.steps <= MAX_STEPS:
        raise UserError(f"--steps={flag_values.steps}: valid is {MIN_STEPS} to {MAX_STEPS}")


def _test(flag_values: CommandFlags, config) -> Any:
    from melanoma_tf.data.image_set import load_image_set
    from melanoma_tf.distribute import make_deterministic, make_strategy
    from melanoma_tf.progress import Progress
    from melanoma_tf.targets import class_labels
    from melanoma_tf.train.rate import range_test
    from melanoma_tf.train.workers import Workers

    make_deterministic()
    train_csv = flag_values.train_csv or f"{flag_values.data_dir.rstrip('/')}/train.csv"
    images = load_image_set(flag_values.data_dir, train_csv, "train", target=True, salvage=config.data.salvage)
    images = dataclasses.replace(images, labels=class_labels(images.table, config.model.target, train_csv))
    strategy = make_strategy(flag_values.strategy, flag_values.tpu)
    size, steps = config.train.batch_size, flag_values.steps
    progress = Progress("finding a rate", steps * size)
    found = range_test(
        config, images, strategy, flag_values.low, flag_values.high, steps,
        lambda done, loss: progress.update(done * size, f"loss {loss:.4f}"),
    )  # fmt: skip
    return found if Workers(strategy).chief else None


def to_csv(found: Any) -> str:
    """Rate, loss, smoothed loss, one line for each step of a `RateTest`."""
    rows = zip(found.rates, found.losses, found.smoothed)
    return "\n".join(["learning_rate,loss,smoothed_loss", *(f"{a:.6g},{b:.6g},{c:.6g}" for a, b, c in rows), ""])


def draw(found: Any, title: str) -> bytes:
    """A PNG of a `RateTest`: the loss over the rate, where it falls, and the rate suggested."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 4.0), layout="constrained", dpi=120)
        axes = figure.add_subplot(xscale="log", xlabel="learning rate", ylabel="loss", title=title)
        axes.plot(found.rates, found.losses, color=MUTED, alpha=0.4, linewidth=1, label="each step")
        axes.plot(found.rates, found.smoothed, color=LINE, label="smoothed")
        start, end = (found.rates[place] for place in found.valley)
        axes.axvspan(start, end, color=FALL, alpha=0.15, linewidth=0, label=f"falls, {start:.1e} to {end:.1e}")
        try:
            axes.axvline(found.suggestion, color=SUGGESTED, linewidth=1.2, label=f"suggested, {found.suggestion:.1e}")
        except UserError:
            pass  # the command says it in words
        bottom, first = min(found.smoothed), found.smoothed[0]
        room = max(first - bottom, 0.1 * first)
        axes.set_ylim(max(bottom - 0.5 * room, 0.0), first + 1.5 * room)  # where it bursts is of no interest
        axes.legend(loc="upper left")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
