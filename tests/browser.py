"""A page in a real browser, without a window: how wide it is, what is on it, and what the browser complained of."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The page is laid out in a frame of the wanted width: a window of its own has a least width that differs by version.
FRAME = """<!DOCTYPE html><html><body><iframe style="width:{width}px;height:{height}px;border:0"></iframe>
<pre id="found"></pre><script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const page = frame.contentDocument, root = page.documentElement;
  const wide = [...page.querySelectorAll("body *")].filter(
    one => one.getBoundingClientRect().right > {width} + 1 || one.getBoundingClientRect().left < -1);
  const scrolled = [...page.querySelectorAll(".scroll")].filter(one => one.scrollWidth > one.clientWidth + 1);
  const texts = [...page.querySelectorAll("svg.chart")].flatMap(chart => {{
    const box = chart.getBoundingClientRect();
    return [...chart.querySelectorAll("text")].filter(text => {{
      const own = text.getBoundingClientRect();
      return own.right > box.right + 2 || own.left < box.left - 2;
    }});
  }});
  const broken = [...page.images].filter(image => !image.complete || !image.naturalWidth);
  document.getElementById("found").textContent = JSON.stringify({{
    width: root.scrollWidth, sections: [...page.querySelectorAll("h2")].map(title => title.textContent),
    wide: wide.map(one => one.outerHTML.slice(0, 80)), scrolled: scrolled.map(one => one.textContent.slice(0, 80)),
    texts: texts.map(one => one.textContent), broken: broken.map(one => one.alt),
    ink: frame.contentWindow.getComputedStyle(page.body).color,
    paper: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
  }});
}};
frame.srcdoc = {page};
</script></body></html>"""


@dataclass(frozen=True)
class Seen:
    """Layout width in pixels; headings; elements beyond the page, scrolled tables, texts beyond their chart, broken
    images (each by its text); colours of text and page; lines of the browser's console."""

    width: int
    sections: list[str]
    wide: list[str]
    scrolled: list[str]
    texts: list[str]
    broken: list[str]
    ink: str
    paper: str
    console: list[str]


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def look(page: str, folder: Path, width: int, dark: bool = False) -> Seen:
    """Lays the page out, `width` pixels wide, in a browser that must be there (`find_browser`)."""
    escaped = json.dumps(page).replace("</", "<\\/")
    (folder / "frame.html").write_text(FRAME.format(page=escaped, width=width, height=4000), encoding="utf-8")
    flags = [
        "--headless", "--hide-scrollbars", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom",
        "--enable-logging=stderr", "--virtual-time-budget=5000", "--window-size=1400,1000",
        f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
    ]  # fmt: skip
    address = (folder / "frame.html").resolve().as_uri()
    done = subprocess.run([find_browser(), *flags, address], capture_output=True, text=True, timeout=300, check=True)
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the browser laid nothing out: {done.stdout[:200]} {done.stderr[-500:]}"
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Seen(**json.loads(html.unescape(found[1])), console=console)
