"""One fold from its first step to its predictions."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import tensorflow as tf

from melanoma_tf import files, metrics
from melanoma_tf.config import Config
from melanoma_tf.data.cache import hold_decoded
from melanoma_tf.data.faults import named_faults
from melanoma_tf.data.image_set import ImageSet
from melanoma_tf.data.pipeline import distributed, eval_dataset, train_dataset
from melanoma_tf.data.sampling import Sampling
from melanoma_tf.errors import Interrupted, UserError
from melanoma_tf.inference import build_predict_step, predict_rows
from melanoma_tf.keras_compat import keras
from melanoma_tf.models import load_model_weights, save_model_weights
from melanoma_tf.predict import BEST, LAST, SNAPSHOT, fold_weights, snapshot_epochs
from melanoma_tf.predictions import Predictions
from melanoma_tf.progress import Progress, duration
from melanoma_tf.schedules import learning_rate
from melanoma_tf.train.callbacks import GuardedCallbacks
from melanoma_tf.train.checkpoint import Checkpoint, identity_of
from melanoma_tf.train.contact_sheet import write_contact_sheet
from melanoma_tf.train.memory import shortage_named
from melanoma_tf.train.parts import build_steps
from melanoma_tf.train.plan import Fold
from melanoma_tf.train.sizes import size_of_epoch
from melanoma_tf.train.statistics import ENOUGH_IMAGES, build_statistics_step, estimate_statistics
from melanoma_tf.train.step import build_train_step, step_seed
from melanoma_tf.train.stop import Stop
from melanoma_tf.train.trainee import build_trainee
from melanoma_tf.train.workers import Workers

LOSS_CHECK_STEPS = 10  # reading the loss makes a TPU wait, so not at every step


class FoldRun:
    """Trains one fold; the state that a rerun needs lives in `checkpoint`."""

    def __init__(
        self,
        config: Config,
        fold: Fold,
        train: ImageSet,
        strategy: tf.distribute.Strategy,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        stop: Stop | None = None,
        workers: Workers | None = None,
    ):
        train = train if fold.labels is None else dataclasses.replace(train, labels=fold.labels)
        self.config, self.fold, self.train, self.strategy = config, fold, train, strategy
        self.stop, self.workers = stop or Stop(), workers or Workers(strategy)
        self.sampling = Sampling(train, fold.train_rows, config.data)
        self.steps_per_epoch = self.sampling.length // config.train.batch_size
        self.run_seed = int(step_seed(config.seed, fold.name, 0)[0])
        keras.utils.set_random_seed(self.run_seed)
        with strategy.scope():
            self.trainee = build_trainee(config)
        self.model, self.optimizer, followers = self.trainee
        # Outside of the scope: the position is a number of this process, not one of every device.
        self.checkpoint = Checkpoint(
            fold.folder / "checkpoint", self.model, self.optimizer, identity_of(config, fold.name, self.model),
            best=fold.folder / BEST, say=self._say, workers=self.workers, **followers,
        )  # fmt: skip
        self.judged = self.trainee.judged
        self.train_step = build_train_step(strategy, self.model, self.optimizer, config, followers.values())
        self.train_steps = build_steps(self.train_step)
        self.valid_step = build_predict_step(strategy, self.judged, None)
        self.statistics_step = build_statistics_step(strategy, self.judged, config)
        self.callbacks = GuardedCallbacks(callbacks, self.model, self._say)

    def run(self) -> None:
        """Trains from wherever the fold stands to its last epoch. Raises Interrupted after a request to stop."""
        files.make_folder(self.fold.folder)
        if self.checkpoint.restore():
            self._say(f"continuing at epoch {int(self.checkpoint.epoch) + 1}, step {int(self.checkpoint.step)}")
        self.callbacks.on_train_begin()
        for epoch in range(int(self.checkpoint.epoch), self.config.train.epochs):
            for size in (self.config.data.image_size, size_of_epoch(self.config, epoch)):
                self._hold(size)  # validation is at the first
            self.callbacks.on_epoch_begin(epoch)
            self._train_epoch(epoch)
            self._finish_epoch(epoch)
        self.callbacks.on_train_end()

    def _hold(self, size: int) -> None:
        # Of several processes none may leave alone; while they decode, a signal waits for the next step.
        stop = self.stop if self.workers.count == 1 else lambda: False
        hold_decoded(self.train, size, self.config.data, self.fold.folder.parent / "cache", stop)

    def _train_epoch(self, epoch: int) -> None:
        """Steps from wherever the epoch stands to its end."""
        config, first, total = self.config.train, int(self.checkpoint.step), self.steps_per_epoch
        progress = Progress(self._title(epoch), total * config.batch_size, first * config.batch_size)
        saved = start = now = time.monotonic()
        seconds_before = float(self.checkpoint.seconds)
        losses: list[tf.Tensor] = []
        for step, rate, new_losses in self._steps(epoch, first):
            losses += new_losses
            self.callbacks.on_train_batch_end(step)
            turn, now = now, time.monotonic()
            self.stop.note("step", now - turn)
            self.checkpoint.seconds.assign(seconds_before + now - start)
            stop, save = self.workers.any(self.stop(), now - saved > config.checkpoint_minutes * 60)
            # At an epoch's end too, as validation takes long enough to be cut.
            save = save or stop or step + 1 == total
            if save or len(losses) >= LOSS_CHECK_STEPS:
                self._add_losses(losses, epoch, step + 1)
            progress.update((step + 1) * config.batch_size, f"{self._loss_text()}rate {rate:.1e}")
            if save:
                self._save()
                saved = now
            if stop:
                raise Interrupted(f"saved at epoch {epoch + 1}, step {step + 1}; the same command continues")

    def _save(self) -> None:
        began = time.monotonic()
        self.checkpoint.save()
        self.stop.note("save", time.monotonic() - began)

    def _steps(self, epoch: int, first: int) -> Iterator[tuple[int, float, list[tf.Tensor]]]:
        """(step, its learning rate, losses since the last) after each call of the device."""
        config, total = self.config.train, self.steps_per_epoch
        batches, size = iter(self.batches(epoch, first)), config.steps_per_call
        every = np.arange(first, total)
        rates = np.array([learning_rate(config, epoch + step / total) for step in every], np.float32)
        seeds = np.array([step_seed(self.config.seed, self.fold.name, epoch * total + step) for step in every])
        named = shortage_named("train", self.config, self.model, self.optimizer, self.strategy.num_replicas_in_sync)
        with named_faults(self.train), named:
            for at in range(0, len(every), size):
                count = min(size, len(every) - at)
                self.callbacks.on_train_batch_begin(int(every[at]))
                if size == 1:
                    batch = next(batches)
                    if epoch == every[at] == 0:
                        self._show(batch)
                    losses = [self.train_step(batch, tf.constant(seeds[at]), tf.constant(rates[at]))]
                else:
                    if epoch == every[at] == 0:
                        self._show(next(iter(self.batches(0, 0))))  # the device keeps the batches of a call to itself
                    pad = ((0, size - count), (0, 0))  # one shape, so one compilation
                    found = self.train_steps(batches, tf.constant(np.pad(seeds[at : at + count], pad)),
                                             tf.constant(np.pad(rates[at : at + count], pad[:1])), tf.constant(count)
                                             )  # fmt: skip
                    losses = list(found[:count])
                yield int(every[at]) + count - 1, float(rates[at + count - 1]), losses

    def batches(self, epoch: int, first: int, size: int | None = None) -> tf.distribute.DistributedDataset:
        """Batches of an epoch from its step `first` on, for the replicas; images of the epoch's own side, or `size`."""
        data, side = self.config.data, size or size_of_epoch(self.config, epoch)
        return distributed(
            self.strategy,
            lambda share: train_dataset(
                self.train, self.fold.train_rows, image_size=side, batch_size=self.config.train.batch_size,
                seed=self.run_seed, epoch=epoch, start_step=first, shuffle_memory_mb=data.shuffle_memory_mb,
                crop=data.crop, repeats=self.sampling.repeats(self.run_seed, epoch), share=share,
            ),
        )  # fmt: skip

    def _show(self, batch: dict) -> None:
        images = self.strategy.experimental_local_results(batch["image"])[0]
        seed = step_seed(self.config.seed, self.fold.name, 0)
        write_contact_sheet(self.fold.folder / "augmented.png", images, seed, self.config.augment)

    def _add_losses(self, losses: list[tf.Tensor], epoch: int, step: int) -> None:
        """Moves the losses of the last steps into the checkpoint's sum; stops where one is no number."""
        values = np.array([float(loss) for loss in losses])
        losses.clear()
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            first = step - len(values) + int(bad[0])
            raise UserError(
                f"fold {self.fold.name}: the loss became {values[bad[0]]} at epoch {epoch + 1}, step {first + 1}, of "
                f"images {self._names(epoch, first)}; the last checkpoint is from before; "
                f"try a smaller train.learning_rate"
            )
        for value in values:  # one by one, so that the rounding does not depend on how many came at once
            self.checkpoint.loss_sum.assign_add(value)
        self.checkpoint.step.assign(step)

    def _names(self, epoch: int, step: int) -> str:
        """The images of a step, which is a function of its number (of several processes, those that this one read)."""
        batch = next(iter(self.batches(epoch, step)))
        rows = np.concatenate([rows.numpy() for rows in self.strategy.experimental_local_results(batch["row"])])
        return ", ".join(self.train.names[rows])

    def _mean_loss(self) -> float:
        steps = int(self.checkpoint.step)
        return float(self.checkpoint.loss_sum) / steps if steps else float("nan")

    def _loss_text(self) -> str:
        return f"loss {self._mean_loss():.4f}  " if int(self.checkpoint.step) else ""

    def _finish_epoch(self, epoch: int) -> None:
        """Validates, records, saves: history and weights first, the checkpoint that counts them last."""
        for follower in self.trainee.followers.values():
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
        history = self.checkpoint.history
        history.append(row)
        shown = f"  AUC {row['val_auc']:.4f} [{row['val_low']:.4f}, {row['val_high']:.4f}]" if "val_auc" in row else ""
        self._say(f"epoch {epoch + 1}/{self.config.train.epochs}  loss {row['loss']:.4f}{shown}  "
                  f"{row['images_per_second']:.0f} images/s  {duration(seconds)}")  # fmt: skip
        with self.workers.together():
            files.write_whole(self.fold.folder / "history.csv", pd.DataFrame(history).to_csv(index=False))
            files.write_json(self.fold.folder / "history.json", history)
            if epoch + 1 in snapshot_epochs(self.config):
                save_model_weights(self.judged, self.fold.folder / SNAPSHOT.format(epoch + 1))
            if "val_auc" in row and row["val_auc"] >= max(past["val_auc"] for past in history):
                save_model_weights(self.judged, self.fold.folder / BEST)
        self.callbacks.on_epoch_end(epoch, {key: value for key, value in row.items() if key != "epoch"})
        for variable, value in ((self.checkpoint.epoch, epoch + 1), (self.checkpoint.step, 0),
                                (self.checkpoint.loss_sum, 0.0), (self.checkpoint.seconds, 0.0)):  # fmt: skip
            variable.assign(value)
        self._save()

    def _estimate_statistics(self, epoch: int) -> None:
        """BatchNormalization of the judged model, from the epoch's first batches as they were trained on."""
        count = min(self.steps_per_epoch, -(-ENOUGH_IMAGES // self.config.train.batch_size))
        numbers = range(epoch * self.steps_per_epoch, epoch * self.steps_per_epoch + count)
        seeds = (step_seed(self.config.seed, self.fold.name, number) for number in numbers)
        batches = self.batches(epoch, 0, self.config.data.image_size)
        estimate_statistics(self.judged, self.statistics_step, zip(seeds, batches))

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

        def on_batch(done: int) -> None:
            progress.update(done)
            if self.workers.any(self.stop())[0]:  # nothing to save: the weights are in the checkpoint
                raise Interrupted(f"stopped while {title or 'validating'}; the same command continues")

        with named_faults(images), shortage_named("predict", config, self.model, self.optimizer,
                                                  self.strategy.num_replicas_in_sync):  # fmt: skip
            return predict_rows(step, batches, len(images), on_batch)[rows]

    def finish(self, test: ImageSet | None) -> None:
        """Writes the last weights and the predictions of the selected ones."""
        folder, config = self.fold.folder, self.config
        with self.workers.together():
            save_model_weights(self.judged, folder / LAST)
        for name in (BEST, *map(SNAPSHOT.format, snapshot_epochs(config))):
            self.workers.share_file(folder / name)
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

    def _title(self, epoch: int) -> str:
        return f"fold {self.fold.name}  epoch {epoch + 1}/{self.config.train.epochs}"

    def _say(self, text: str) -> None:
        Progress(f"fold {self.fold.name}", 0).finish(text)
