"""One line of progress: rewritten in place on a terminal, now and then elsewhere."""

from __future__ import annotations

import sys
import time

QUIET_SECONDS = 15.0  # between lines where the output is a file
TERMINAL_SECONDS = 0.2


class Progress:
    """Shows how far a loop is, how fast, and how long it will take.

    Args: title; total: number of items; done: items done before; stream: where to write.
    """

    def __init__(self, title: str, total: int, done: int = 0, stream=None):
        self.title, self.total, self.first = title, total, done
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.start = self.shown = time.monotonic()

    def update(self, done: int, detail: str = "") -> None:
        """Shows `done` items unless the last line is fresh."""
        now = time.monotonic()
        if now - self.shown >= (TERMINAL_SECONDS if self.terminal else QUIET_SECONDS):
            self.shown = now
            self._write(self.line(done, now, detail), end="\r" if self.terminal else "\n")

    def line(self, done: int, now: float, detail: str) -> str:
        rate = (done - self.first) / max(now - self.start, 1e-9)
        left = (self.total - done) / rate if rate else 0
        return f"{self.title}  {done:,}/{self.total:,}  {rate:,.0f} images/s  {duration(left)} left  {detail}".rstrip()

    def finish(self, text: str) -> None:
        """Replaces the line by a final one."""
        self._write(f"{self.title}  {text}", end="\n")

    def _write(self, text: str, end: str) -> None:
        self.stream.write(f"\r\x1b[K{text}{end}" if self.terminal else f"{text}{end}")
        self.stream.flush()


def duration(seconds: float) -> str:
    """`59 s`, `12 min`, `3 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
