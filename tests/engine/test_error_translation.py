"""Errors of a run on their way to the window."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_foundseg.core.errors import BadImageError, DownloadError, EngineError
from napari_foundseg.engine.error_translation import named_error


class ForeignError(Exception):
    """Cannot be made again from its message, as the errors of some libraries."""

    def __init__(self, function: str, code: int) -> None:
        super().__init__(f"{function} returned {code}")

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (str(self),)


class RefusedError(DownloadError):
    """More than its message, and sent as that alone."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (str(self),)


def test_an_error_keeps_its_name_where_its_cause_cannot_be_sent() -> None:
    # distributed makes the causes of errors travel with them.
    pytest.importorskip("tblib.pickling_support").install()
    error = BadImageError(Path("cells.tif"), "the file is damaged")
    error.__cause__ = ForeignError("decompress", 3)
    named = named_error(error)
    assert type(named) is BadImageError
    assert "decompress returned 3" in "".join(named.__notes__)


def test_an_error_of_no_name_is_the_engines() -> None:
    named = named_error(ForeignError("decompress", 3))
    assert type(named) is EngineError
    assert "decompress returned 3" in str(named)


def test_an_error_that_is_more_than_its_message_is_sent_as_what_it_is_a_kind_of() -> None:
    named = named_error(RefusedError("example.org has no such file", 404))
    assert type(named) is DownloadError
    assert str(named) == "example.org has no such file"
    assert "RefusedError" in "".join(named.__notes__)
