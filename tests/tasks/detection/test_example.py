import re
import runpy
import sys
from pathlib import Path

import drkd.tasks.detection
from drkd.cli import catalog
from drkd.tasks.detection.networks import DETECTORS

EXAMPLE = Path(__file__).parents[3] / "examples" / "detection.py"


def test_the_example_runs_and_is_short(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--quick"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    assert re.search(r"dr_kd .*'rectified': 0\.\d+", printed)
    assert re.search(r"student: mAP50 \d+\.\d%", printed)
    assert len(EXAMPLE.read_text().splitlines()) < 60


def test_the_catalog_lists_the_detectors():
    assert list(catalog.detectors()) == list(DETECTORS)
    assert all(line.strip() for line in catalog.detectors().values())


def test_every_public_name_is_there_and_described():
    assert all(getattr(drkd.tasks.detection, name).__doc__ for name in drkd.tasks.detection.__all__)
