"""The words of the project are those of its field, in American English, and docstrings are parsed by griffe."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RETIRED = re.compile(
    r"\bfilms?\b|nobody|whole numbers?\b|multiply-add|\bspoil|\bretaken\b|\bbelongs\(|set_usual|in the place of"
    r"|\banew\b|told apart|at hand|\b(images|pixels|films|megapixels) a second\b"
    r"|\bdrawn (films?|chest|by the model)|\brooms?\b|grey|colour|licence|neighbour|normalis",
    re.IGNORECASE,
)
ONE_LINE_SECTION = re.compile(r"^\s+(Returns|Attributes|Yields): \S", re.MULTILINE)
# Names of others, and history.
ALLOWED = re.compile(
    r"photographic film|https?://\S+|convert_colour_space|PhotometricInterpretation|stored_as..Normalised"
)
EXEMPT = {"CHANGELOG.md", "tests/test_language.py", "LICENSE"}


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.split("\0") if name.endswith((".md", ".py", ".ipynb")) and name not in EXEMPT]
    return [name for name in names if (ROOT / name).is_file()]


def text_of(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".ipynb"):
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return text


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
@pytest.mark.parametrize("pattern", [RETIRED, ONE_LINE_SECTION], ids=["words", "docstrings"])
def test_no_file_uses_a_retired_word_or_a_section_that_griffe_does_not_parse(pattern):
    found = []
    for name in tracked():
        for number, line in enumerate(text_of(name).splitlines(), 1):
            if match := pattern.search(ALLOWED.sub("", line)):
                found.append(f"{name}:{number}: {match[0].strip()!r} in {line.strip()[:100]!r}")
    assert not found, "\n".join([f"{len(found)} places:", *found[:60]])
