"""In processes of the plugin's own, threads of torch that wait leave the processors to other programs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from napari_foundseg.engine.pool import Pool
from tests.support import toy_stages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="torch uses another library for its threads there")

_SHORT = "GOMP_SPINCOUNT = '1000'"
_COMMAND = """
import sys
from napari_foundseg.cli import main
sys.argv = ["napari-foundseg", "--help"]
try:
    main()
except SystemExit:
    import torch
"""


def settings_of_libgomp(**variables: str) -> str:
    """Return what libgomp prints when torch loads it in a process of the command line."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"} | variables
    command = [sys.executable, "-c", _COMMAND]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr


def test_the_command_line_waits_shortly_unless_the_user_has_chosen() -> None:
    assert _SHORT in settings_of_libgomp()
    assert "GOMP_SPINCOUNT = '70'" in settings_of_libgomp(GOMP_SPINCOUNT="70")
    assert _SHORT not in settings_of_libgomp(OMP_WAIT_POLICY="ACTIVE")


def test_a_worker_waits_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("OMP_DISPLAY_ENV", "VERBOSE")
    read, _, write = toy_stages.STAGES
    with Pool(1, threads=1) as pool:
        # libgomp writes to the log of the process, which is removed with it; the stage reads it.
        assert _SHORT in pool.submit((read, toy_stages.log_after_torch, write), {}).result(60)["log"]
