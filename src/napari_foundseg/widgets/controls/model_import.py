"""Import of a model in a separate process, by the command line, so that the window's process never imports torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, QProcess, QProcessEnvironment, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_foundseg.core import errors
from napari_foundseg.core.errors import CodeNotAllowedError, EngineError, FoundsegError
from napari_foundseg.io.preferences import engine_environment

__all__ = ["ModelImport", "choose_weights_file", "choose_weights_folder"]

_FILES = "Weights (*.pth *.pt *.ckpt *.bin *.pkl *.safetensors *.json *.h5 *.onnx *.zip *.yaml *.yml);;All files (*)"
#: The option by which the user allows Python code of a package to run.
_RUN_CODE = "--run-code"
_QUESTION = "Do you trust those who wrote it, and want it to run whenever the model is used?"
#: The folder in which the next dialog opens; empty before the first import.
_last_folder: list[str] = []


def choose_weights_file(parent: QWidget) -> str:
    """Ask the user for a file of weights and return its path; empty if none is chosen."""
    return QFileDialog.getOpenFileName(parent, "Import a model: weights file", _folder(), _FILES)[0]


def choose_weights_folder(parent: QWidget) -> str:
    """Ask the user for a folder of weights and return its path; empty if none is chosen."""
    return QFileDialog.getExistingDirectory(parent, "Import a model: folder of weights", _folder())


def _folder() -> str:
    downloads = Path.home() / "Downloads"
    return _last_folder[0] if _last_folder else str(downloads if downloads.is_dir() else Path.home())


class ModelImport(QObject):
    """The import of a model in a separate process; there is one import at a time."""

    #: The import has ended; the name of the new model, or a FoundsegError.
    ended = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._process: QProcess | None = None
        #: Path and options of the current import.
        self._asked: tuple[str, tuple[str, ...]] = ("", ())

    @property
    def running(self) -> bool:
        """Whether an import is in progress."""
        return self._process is not None

    def start(self, path: str, *options: str) -> None:
        """Import a file or folder; `options` are options of the command line."""
        _last_folder[:] = [str(Path(path).parent)]
        self._asked = (path, options)
        process = QProcess(self)
        environment = QProcessEnvironment()
        for name, value in (engine_environment() | {"PYTHONIOENCODING": "utf-8"}).items():
            environment.insert(name, value)
        process.setProcessEnvironment(environment)
        process.finished.connect(self._finish)
        process.errorOccurred.connect(self._fail_to_start)
        self._process = process
        process.start(sys.executable, ["-P", "-m", "napari_foundseg", "models", "import", path, *options])

    def stop(self) -> None:
        """Kill the import without emitting `ended`; the catalogue does not change."""
        process, self._process = self._process, None
        if process is not None:
            process.finished.disconnect(self._finish)
            process.errorOccurred.disconnect(self._fail_to_start)
            process.kill()
            process.waitForFinished(3000)

    def _fail_to_start(self, kind: Any) -> None:
        if kind == QProcess.ProcessError.FailedToStart and self._process is not None:
            self._end(EngineError(f"Python cannot be started ({sys.executable}): {self._process.errorString()}."))

    def _finish(self, *_: Any) -> None:
        process = self._process
        if process is None:
            return
        said = bytes(process.readAllStandardOutput().data()).decode(errors="replace").splitlines()
        complained = bytes(process.readAllStandardError().data()).decode(errors="replace").splitlines()
        if process.exitStatus() == QProcess.ExitStatus.NormalExit and process.exitCode() == 0 and said:
            self._end(said[-1].partition(":")[0])
        else:
            self._end(_error_of(complained))

    def _end(self, outcome: str | FoundsegError) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.deleteLater()
        path, options = self._asked
        if isinstance(outcome, CodeNotAllowedError) and _RUN_CODE not in options and self._allows(outcome):
            self.start(path, *options, _RUN_CODE)
            return
        self.ended.emit(outcome)

    def _allows(self, error: CodeNotAllowedError) -> bool:
        """Ask whether Python code of a package may be run."""
        parent = self.parent()
        answer = QMessageBox.question(
            parent if isinstance(parent, QWidget) else None,
            "Run Python of a model?",
            f"{error}\n\n{_QUESTION}",
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
            QMessageBox.StandardButton.No,
        )
        return bool(answer == QMessageBox.StandardButton.Yes)


def _error_of(lines: list[str]) -> FoundsegError:
    """Return the error that the command line printed, by its class name; else an EngineError."""
    for line in reversed(lines):
        kind = getattr(errors, line.partition(": ")[0], None)
        if isinstance(kind, type) and issubclass(kind, FoundsegError) and kind is not errors.BadImageError:
            return kind(line.partition(": ")[2])
    return EngineError(f"The import ended before it had a result: {lines[-1] if lines else 'no memory left?'}")
