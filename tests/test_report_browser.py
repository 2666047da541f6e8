"""The page as a person meets it: on a phone, on a desk, on a dark screen, in a real browser."""

import json
import re

import numpy as np
import pytest

from melanoma_tf import report
from tests.browser import find_browser, look
from tests.report_making import context_record, make_picture, make_table, write_run

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome on this machine")
SECTIONS = [
    "Runs side by side", "Discrimination", "Scores as probabilities", "Members", "Patient context", "Folds",
    "Who it works for", "Shortcuts in the data", "Most certain hits and misses", "How it was made", "Data and licence",
]  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A blend with context, long names, pictures and heat maps beside a training run: every section but two."""
    folder, table = tmp_path_factory.mktemp("page"), make_table()
    table["source"] = np.where(np.arange(len(table)) % 2, "isic2019", "isic2020")
    run = write_run(folder / "a_run_whose_name_is_longer_than_a_phone_is_wide_and_has_no_blank", table)
    blend = write_run(folder / "blend", table, seed=2)
    context = context_record(table)
    member = {"path": str(run), "weight": 0.5, "auc": context["auc"]["input"], "adds": context["difference"]}
    record = {"method": "mean", "members": [member, member | {"path": "b"}], "auc": context["auc"]["input"],
              "cross_fitted": True, "apparent_auc": 0.9, "notes": ["a note"], "context": context}  # fmt: skip
    (blend / "blend.json").write_text(json.dumps(record))
    heat = report.HeatMap(np.full((32, 32, 3), 120, np.uint8), np.eye(4, dtype=np.float32))
    names = table["image_name"]
    return report.build_report(
        [report.read_run(blend), report.read_run(run)], table, dict.fromkeys(names, make_picture("brown")),
        dict.fromkeys(names, heat), "melanoma-tf report blend run",
    )  # fmt: skip


@pytest.mark.parametrize("width", [360, 1100])
def test_page_fits_and_is_complete(page, tmp_path, width):
    seen = look(page, tmp_path, width)
    assert seen.console == []
    assert seen.sections == SECTIONS
    assert seen.width == width
    assert (seen.wide, seen.scrolled, seen.texts, seen.broken) == ([], [], [], [])


def test_training_page_on_a_phone(tmp_path):
    run = report.read_run(write_run(tmp_path / "run", make_table()))
    seen = look(report.build_report([run], make_table()), tmp_path, 360)
    assert {"Folds and learning", "What the model saw"} < set(seen.sections)
    assert (seen.width, seen.console, seen.scrolled, seen.texts, seen.broken) == (360, [], [], [], [])


def test_dark_screen_has_light_text(page, tmp_path):
    brightness = lambda color: sum(map(int, re.findall(r"\d+", color)[:3]))  # noqa: E731
    light, dark = look(page, tmp_path, 800), look(page, tmp_path, 800, dark=True)
    assert brightness(light.paper) > 700 > 300 > brightness(light.ink)
    assert brightness(dark.ink) > 600 > 150 > brightness(dark.paper)


def test_the_look_sees_what_is_wrong(tmp_path):
    bad = ('<h2>One</h2><div style="width:500px">wide</div><img src="data:image/png;base64,AAAA" alt="broken">'
           '<script>console.error("complaint")</script>')  # fmt: skip
    seen = look(bad, tmp_path, 360)
    assert (seen.sections, seen.broken) == (["One"], ["broken"])
    assert seen.width >= 500 and seen.wide and any("complaint" in line for line in seen.console)
