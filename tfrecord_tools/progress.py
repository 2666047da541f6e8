"""The line that tells how far a long job is."""

from __future__ import annotations

import sys
import time
from typing import TextIO

REDRAW_SECONDS = 0.2


class Progress:
    """Images/s, MB/s, time left and rejects on one line of a terminal; silent where `stream` is none."""

    def __init__(self, total: int, label: str, stream: TextIO | None = None):
        self.total, self.label = total, label
        self.images = self.bytes_read = self.rejects = 0
        self.stream = stream or sys.stderr
        self.started = time.monotonic()
        self._drawn = 0.0
        self._silent = not self.stream.isatty()

    def add(self, bytes_read: int, rejected: bool) -> None:
        """Counts one more image."""
        self.images += 1
        self.bytes_read += bytes_read
        self.rejects += rejected
        if not self._silent and time.monotonic() - self._drawn > REDRAW_SECONDS:
            self._drawn = time.monotonic()
            self.stream.write(f"\r{self.line()}\x1b[K")
            self.stream.flush()

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def line(self) -> str:
        seconds = max(self.seconds(), 1e-6)
        left = round((self.total - self.images) * seconds / max(self.images, 1))
        return (
            f"{self.label} {self.images}/{self.total}  {self.images / seconds:.0f} images/s  "
            f"{self.bytes_read / seconds / 1e6:.1f} MB/s  {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left  "
            f"{self.rejects} rejects"
        )

    def clear(self) -> None:
        """Wipes the line, so that what is printed next starts on a clean one."""
        if not self._silent and self._drawn:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
