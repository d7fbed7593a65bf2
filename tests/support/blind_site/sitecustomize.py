"""Found on PYTHONPATH by a worker that does not see the folder `FOUNDSEG_TEST_HIDDEN`, as on another computer."""

import errno
import os
from pathlib import Path
from typing import Any

_HIDDEN = os.environ["FOUNDSEG_TEST_HIDDEN"]


def _hiding(function: Any) -> Any:
    def act(self: Path, *args: Any, **options: Any) -> Any:
        if str(self).startswith(_HIDDEN):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return function(self, *args, **options)

    return act


Path.stat = _hiding(Path.stat)  # type: ignore[method-assign]
Path.read_text = _hiding(Path.read_text)  # type: ignore[method-assign]
