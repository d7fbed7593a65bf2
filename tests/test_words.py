"""Errors, tooltips, docstrings and comments are in plain English, without phrases that users have stumbled over."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import pytest

_SOURCES = Path(__file__).parents[1] / "src"

_STUMBLES = {
    r"\bno file of\b": "say what was got and what was expected",
    r"\b(?:it|this|which|file) is no (?!longer|more|larger|smaller|wider|farther|better|other)\w+": "is not a …",
    r"\banew\b": "again, from scratch",
    r"\ba person\b": "the user",
    r"\bbeside the window\b": "in a background thread",
    r"\bone's own\b": "your own",
    r"\btaken for granted\b": "assumed",
    r"\bsay it otherwise\b": "change it",
    r"\bwhat is here of\b": "the downloaded part",
}


@pytest.mark.parametrize("phrase", _STUMBLES)
def test_no_text_of_the_package_has_a_phrase_that_users_stumble_over(phrase: str) -> None:
    found = []
    for path in sorted(_SOURCES.rglob("*.py")):
        with tokenize.open(path) as file:
            for number, line in enumerate(file, 1):
                if re.search(phrase, line, re.IGNORECASE):
                    found.append(f"{path.relative_to(_SOURCES)}:{number}: {line.strip()}")
    assert not found, f"write instead: {_STUMBLES[phrase]}"
