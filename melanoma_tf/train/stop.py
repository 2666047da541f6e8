"""When a run is to save and stop: SIGTERM, Ctrl-C, or the end of the hours that it was given."""

from __future__ import annotations

import signal
import time

RESERVE = 2.0  # times the longest step and the longest save seen so far


class Stop:
    """Within it SIGTERM and SIGINT ask the loop to save and stop; a second one ends the program at once.

    Args: max_hours: time from now after which nothing may be running; 0 = as long as it takes.
    """

    def __init__(self, max_hours: float = 0.0):
        self.end = time.monotonic() + max_hours * 3600 if max_hours else float("inf")
        self.asked = False
        self._longest: dict[str, float] = {}
        self._former: dict[int, object] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._former[number] = signal.signal(number, self._ask)
            except ValueError:  # not the main thread, as in some notebooks
                break
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler or signal.SIG_DFL)  # type: ignore[arg-type]

    def __call__(self) -> bool:
        """Whether to stop now, so that a step more and a save still end in time."""
        return self.asked or time.monotonic() + RESERVE * sum(self._longest.values()) > self.end

    def note(self, what: str, seconds: float) -> None:
        """Tells how long a `step` or a `save` took."""
        self._longest[what] = max(self._longest.get(what, 0.0), seconds)

    def _ask(self, number, frame) -> None:
        self.asked = True
        signal.signal(number, self._former[number] or signal.SIG_DFL)  # type: ignore[arg-type]
