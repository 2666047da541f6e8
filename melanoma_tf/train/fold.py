"""One fold from its first step to its predictions."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from melanoma_tf import files, metrics, tables
from melanoma_tf.config import Config
from melanoma_tf.data.cache import hold_decoded
from melanoma_tf.data.faults import named_faults
from melanoma_tf.data.image_set import ImageSet
from melanoma_tf.data.pipeline import distributed, eval_dataset, train_dataset
from melanoma_tf.data.sampling import Sampling
from melanoma_tf.errors import Interrupted, UserError
from melanoma_tf.inference import build_predict_step, predict_rows
from melanoma_tf.keras_compat import keras
from melanoma_tf.models import build_model, load_model_weights, save_model_weights
from melanoma_tf.models.stages import freeze_stages
from melanoma_tf.optimizers import build_optimizer
from melanoma_tf.predict import BEST, LAST, SNAPSHOT, fold_weights, snapshot_epochs
from melanoma_tf.predictions import Predictions
from melanoma_tf.progress import Progress, duration
from melanoma_tf.schedules import learning_rate
from melanoma_tf.train.checkpoint import Checkpoint
from melanoma_tf.train.contact_sheet import write_contact_sheet
from melanoma_tf.train.followers import build_followers
from melanoma_tf.train.statistics import ENOUGH_IMAGES, build_statistics_step, estimate_statistics
from melanoma_tf.train.step import build_train_step, step_seed

LOSS_CHECK_STEPS = 10  # reading the loss makes a TPU wait, so not at every step


@dataclasses.dataclass(frozen=True)
class Fold:
    """What one fold works on.

    Attributes: name: `0`, `1`, ... or `all`; folder: where it writes; train_rows, valid_rows: int[n] rows of the train
    table; valid_rows is empty for `all`.
    """

    name: str
    folder: Path
    train_rows: np.ndarray
    valid_rows: np.ndarray


class FoldRun:
    """Trains one fold; state that a rerun needs lives in `checkpoint` and `history.csv`."""

    def __init__(
        self,
        config: Config,
        fold: Fold,
        train: ImageSet,
        strategy: tf.distribute.Strategy,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        stop_requested: Callable[[], bool] = lambda: False,
    ):
        self.config, self.fold, self.train, self.strategy = config, fold, train, strategy
        self.stop_requested = stop_requested
        self.sampling = Sampling(train, fold.train_rows, config.data)
        self.steps_per_epoch = self.sampling.length // config.train.batch_size
        files.make_folder(fold.folder)
        self.run_seed = int(step_seed(config.seed, fold.name, 0)[0])
        keras.utils.set_random_seed(self.run_seed)
        with strategy.scope():
            self.model = build_model(config.model, config.data.image_size)
            freeze_stages(self.model, config.train.frozen_stages)
            self.optimizer = build_optimizer(config.train)
            self.optimizer.build(self.model.trainable_variables)
            self.followers = build_followers(config, self.model, self.optimizer)
            self.checkpoint = Checkpoint(fold.folder / "checkpoint", self.model, self.optimizer, self.followers)
        # What validates and predicts: the average of the weights where there is one.
        self.judged = next((one.model for one in self.followers.values() if one.model), self.model)
        self.train_step = build_train_step(strategy, self.model, self.optimizer, config, self.followers.values())
        self.valid_step = build_predict_step(strategy, self.judged, None)
        self.statistics_step = build_statistics_step(strategy, self.judged, config)
        self.callbacks = keras.callbacks.CallbackList(list(callbacks), model=self.model)
        self.history: list[dict] = []

    def run(self) -> None:
        """Trains from wherever the fold stands to its last epoch. Raises Interrupted after a request to stop."""
        if self.checkpoint.restore():
            self._read_history()
            self._say(f"continuing at epoch {int(self.checkpoint.epoch) + 1}, step {int(self.checkpoint.step)}")
        if int(self.checkpoint.epoch) < self.config.train.epochs:
            data = self.config.data
            hold_decoded(self.train, data.image_size, data, self.fold.folder.parent / "cache", self.stop_requested)
        self.callbacks.on_train_begin()
        for epoch in range(int(self.checkpoint.epoch), self.config.train.epochs):
            self.callbacks.on_epoch_begin(epoch)
            self._train_epoch(epoch)
            self._finish_epoch(epoch)
        self.callbacks.on_train_end()

    def _train_epoch(self, epoch: int) -> None:
        """Steps from wherever the epoch stands to its end."""
        config, first, total = self.config.train, int(self.checkpoint.step), self.steps_per_epoch
        progress = Progress(self._title(epoch), total * config.batch_size, first * config.batch_size)
        saved = start = time.monotonic()
        seconds_before = float(self.checkpoint.seconds)
        losses: list[tf.Tensor] = []
        for step, batch in enumerate(self._batches(epoch, first), start=first):
            if epoch == step == 0:
                self._show(batch)
            rate = learning_rate(config, epoch + step / total)
            seed = tf.constant(step_seed(self.config.seed, self.fold.name, epoch * total + step))
            losses.append(self.train_step(batch, seed, tf.constant(rate, tf.float32)))
            self.callbacks.on_train_batch_end(step)
            now = time.monotonic()
            self.checkpoint.seconds.assign(seconds_before + now - start)
            save = self.stop_requested() or now - saved > config.checkpoint_minutes * 60
            if save or step + 1 == total or len(losses) == LOSS_CHECK_STEPS:
                self._add_losses(losses, step + 1)
            progress.update((step + 1) * config.batch_size, f"{self._loss_text()}rate {rate:.1e}")
            if save:
                self.checkpoint.save()
                saved = now
            if self.stop_requested():
                raise Interrupted(f"saved at epoch {epoch + 1}, step {step + 1}; the same command continues")

    def _batches(self, epoch: int, first: int) -> Iterator[dict]:
        data = self.config.data
        batches = distributed(
            self.strategy,
            lambda share: train_dataset(
                self.train, self.fold.train_rows, image_size=data.image_size, batch_size=self.config.train.batch_size,
                seed=self.run_seed, epoch=epoch, start_step=first, shuffle_memory_mb=data.shuffle_memory_mb,
                crop=data.crop, repeats=self.sampling.repeats(self.run_seed, epoch), share=share,
            ),
        )  # fmt: skip
        with named_faults(self.train):
            yield from batches

    def _show(self, batch: dict) -> None:
        images = self.strategy.experimental_local_results(batch["image"])[0]
        seed = step_seed(self.config.seed, self.fold.name, 0)
        write_contact_sheet(self.fold.folder / "augmented.png", images, seed, self.config.augment)

    def _add_losses(self, losses: list[tf.Tensor], step: int) -> None:
        """Moves the losses of the last steps into the checkpoint's sum; stops where one is no number."""
        values = np.array([float(loss) for loss in losses])
        losses.clear()
        if not np.isfinite(values).all():
            raise UserError(
                f"fold {self.fold.name}: the loss became {values[~np.isfinite(values)][0]} before step {step}; "
                f"try a smaller train.learning_rate"
            )
        self.checkpoint.loss_sum.assign_add(float(np.sum(values)))
        self.checkpoint.step.assign(step)

    def _mean_loss(self) -> float:
        steps = int(self.checkpoint.step)
        return float(self.checkpoint.loss_sum) / steps if steps else float("nan")

    def _loss_text(self) -> str:
        return f"loss {self._mean_loss():.4f}  " if int(self.checkpoint.step) else ""

    def _finish_epoch(self, epoch: int) -> None:
        """Validates, records, saves: history and weights first, the checkpoint that counts them last."""
        for follower in self.followers.values():
            follower.after_epoch(epoch, lambda: self._estimate_statistics(epoch))
        images, seconds = self.steps_per_epoch * self.config.train.batch_size, float(self.checkpoint.seconds)
        row = {
            "epoch": epoch + 1,
            "learning_rate": learning_rate(self.config.train, epoch + 1),
            "loss": self._mean_loss(),
            "images": images,
            "seconds": round(seconds, 3),
            "images_per_second": round(images / max(seconds, 1e-9), 2),
        } | self._validate()
        self.history.append(row)
        shown = f"  AUC {row['val_auc']:.4f} [{row['val_low']:.4f}, {row['val_high']:.4f}]" if "val_auc" in row else ""
        self._say(f"epoch {epoch + 1}/{self.config.train.epochs}  loss {row['loss']:.4f}{shown}  "
                  f"{row['images_per_second']:.0f} images/s  {duration(seconds)}")  # fmt: skip
        files.write_whole(self.fold.folder / "history.csv", pd.DataFrame(self.history).to_csv(index=False))
        if epoch + 1 in snapshot_epochs(self.config):
            save_model_weights(self.judged, self.fold.folder / SNAPSHOT.format(epoch + 1))
        if "val_auc" in row and row["val_auc"] >= max(past["val_auc"] for past in self.history):
            save_model_weights(self.judged, self.fold.folder / BEST)
        self.callbacks.on_epoch_end(epoch, {key: value for key, value in row.items() if key != "epoch"})
        for variable, value in ((self.checkpoint.epoch, epoch + 1), (self.checkpoint.step, 0),
                                (self.checkpoint.loss_sum, 0.0), (self.checkpoint.seconds, 0.0)):  # fmt: skip
            variable.assign(value)
        self.checkpoint.save()

    def _estimate_statistics(self, epoch: int) -> None:
        """BatchNormalization of the judged model, from the epoch's first batches as they were trained on."""
        count = min(self.steps_per_epoch, -(-ENOUGH_IMAGES // self.config.train.batch_size))
        numbers = range(epoch * self.steps_per_epoch, epoch * self.steps_per_epoch + count)
        seeds = (step_seed(self.config.seed, self.fold.name, number) for number in numbers)
        estimate_statistics(self.judged, self.statistics_step, zip(seeds, self._batches(epoch, 0)))

    def _validate(self) -> dict[str, float]:
        if not len(self.fold.valid_rows):
            return {}
        probability = self.predict(self.train, self.fold.valid_rows, self.valid_step)
        table = self.train.table.iloc[self.fold.valid_rows]
        found = metrics.auc_interval(table["target"].to_numpy(), probability, table["patient_id"].to_numpy())
        return {"val_auc": found.value, "val_low": found.low, "val_high": found.high}

    def predict(self, images: ImageSet, rows: np.ndarray, step: Callable, title: str = "") -> np.ndarray:
        """Probability of `rows`, float64[n], in their order."""
        config = self.config
        batches = distributed(
            self.strategy,
            lambda share: eval_dataset(
                images, rows, image_size=config.data.image_size, batch_size=config.predict.batch_size,
                crop=config.data.crop, share=share,
            ),
        )  # fmt: skip
        progress = Progress(f"fold {self.fold.name}  {title or 'validating'}", len(rows))
        with named_faults(images):
            return predict_rows(step, batches, len(images), progress.update)[rows]

    def finish(self, test: ImageSet | None) -> None:
        """Writes the last weights and the predictions of the selected ones."""
        folder, config = self.fold.folder, self.config
        save_model_weights(self.judged, folder / LAST)
        step = build_predict_step(self.strategy, self.judged, config)
        if len(self.fold.valid_rows):
            rows = self.fold.valid_rows
            probability = self._predict_selected(self.train, rows, step, "predicting out-of-fold images")
            fold = np.full(len(rows), int(self.fold.name))
            target = self.train.target[rows]
            Predictions(self.train.names[rows], probability, target, fold).write(folder / "oof.csv")
        if test is not None:
            probability = self._predict_selected(test, np.arange(len(test)), step, "predicting test images")
            Predictions(test.names, probability).write(folder / "test.csv")
        files.write_json(folder / "finished.json", {"fold": self.fold.name, "epochs": config.train.epochs})

    def _predict_selected(self, images: ImageSet, rows: np.ndarray, step: Callable, title: str) -> np.ndarray:
        """Of the selected weights; of several the mean."""
        members = []
        for path in fold_weights(self.fold.folder, self.config):
            load_model_weights(self.judged, path)
            members.append(self.predict(images, rows, step, title))
        return np.mean(members, axis=0)

    def _read_history(self) -> None:
        path = self.fold.folder / "history.csv"
        rows = tables.read_csv(path).to_dict("records") if path.exists() else []
        self.history = [row for row in rows if row["epoch"] <= int(self.checkpoint.epoch)]

    def _title(self, epoch: int) -> str:
        return f"fold {self.fold.name}  epoch {epoch + 1}/{self.config.train.epochs}"

    def _say(self, text: str) -> None:
        Progress(f"fold {self.fold.name}", 0).finish(text)
