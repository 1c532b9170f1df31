"""Damaged files raise the exceptions of medzoo within bounded memory, see fuzz.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource")  # limits the memory; not available on Windows


@pytest.mark.parametrize("count", [40, pytest.param(4000, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_raise_medzoo_errors(count):
    script = Path(__file__).with_name("fuzz.py")
    process = subprocess.run(
        [sys.executable, script, str(count), "0"], capture_output=True, text=True, check=False, timeout=1800
    )
    assert process.returncode == 0, process.stderr[-2000:]
    result = json.loads(process.stdout.splitlines()[-1])
    assert result["faults"] == {}
    assert result["rejected"] > count / 4
