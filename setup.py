"""Build step: the long description is README.md, with absolute links once pyproject.toml names the repository.

PyPI and the napari hub show the long description apart from the repository, where relative links lead nowhere.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
#: A link or picture in Markdown whose target is neither absolute nor within the page.
RELATIVE = re.compile(r"(?P<start>(?P<picture>!?)\[[^\]]*\]\()(?!\w+:|#|/)(?P<target>[^)\s]+)")


def with_absolute_links(markdown: str, repository: str | None) -> str:
    """Return the text with links to files of the repository; unchanged while it has no address."""
    if not repository:
        return markdown

    def absolute(match: re.Match[str]) -> str:
        kind = "raw" if match["picture"] else "blob"
        return f"{match['start']}{repository.rstrip('/')}/{kind}/HEAD/{match['target']}"

    return RELATIVE.sub(absolute, markdown)


project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
setup(
    long_description=with_absolute_links(
        (ROOT / "README.md").read_text("utf-8"), project.get("urls", {}).get("Repository")
    ),
    long_description_content_type="text/markdown",
)
