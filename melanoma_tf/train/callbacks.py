"""Keras callbacks that cannot break a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from melanoma_tf.keras_compat import keras


class GuardedCallbacks:
    """Calls every callback; one that raises is named once and called no more.

    A failing logger must not cost a night of training. KeyboardInterrupt passes.

    Args: callbacks; model: what they see as `self.model`; say: shows a line.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], model: keras.Model, say: Callable[[str], None]):
        self._say = say
        self._lists: list[tuple[str, keras.callbacks.CallbackList]] = []
        for callback in callbacks:
            self._guard(type(callback).__name__, self._add, callback, model)

    def on_train_begin(self) -> None:
        self._each("on_train_begin")

    def on_epoch_begin(self, epoch: int) -> None:
        self._each("on_epoch_begin", epoch)

    def on_train_batch_end(self, step: int) -> None:
        self._each("on_train_batch_end", step)

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        self._each("on_epoch_end", epoch, logs)

    def on_train_end(self) -> None:
        self._each("on_train_end")

    def _add(self, callback: keras.callbacks.Callback, model: keras.Model) -> None:
        self._lists.append((type(callback).__name__, keras.callbacks.CallbackList([callback], model=model)))

    def _each(self, hook: str, *arguments) -> None:
        self._lists = [
            (name, one) for name, one in self._lists if self._guard(f"{name}.{hook}", getattr(one, hook), *arguments)
        ]  # fmt: skip

    def _guard(self, name: str, call: Callable[..., object], *arguments) -> bool:
        try:
            call(*arguments)
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            self._say(f"callback {name} failed and is called no more: {text}")
            return False
        return True
