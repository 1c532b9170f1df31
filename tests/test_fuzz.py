"""Damaged files end in our exceptions, within bounded memory; see fuzz.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource")  # bounds the memory; not on Windows


@pytest.mark.parametrize("count", [40, pytest.param(4000, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_refused(count):
    script = Path(__file__).with_name("fuzz.py")
    done = subprocess.run(
        [sys.executable, script, str(count), "0"], capture_output=True, text=True, check=False, timeout=1800
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] == {}
    assert found["refused"] > count / 4
