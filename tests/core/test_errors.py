from __future__ import annotations

import pickle

import pytest

from napari_foundseg.core import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_has_one_root_and_survives_the_way_from_the_engine(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, errors.FoundsegError)
    assert not issubclass(kind, RuntimeError), "Qt's generator workers swallow RuntimeErrors"
    error = kind("a.tif", "broken") if name == "BadImageError" else kind("broken")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
