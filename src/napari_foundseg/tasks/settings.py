"""What every task is made of: settings declared once, inputs, and the table's row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.errors import SettingsError
from napari_foundseg.core.validation_messages import in_words

if TYPE_CHECKING:
    from napari_foundseg.core.image import Image
    from napari_foundseg.core.result import Segmentation

__all__ = ["Inputs", "Progress", "Settings", "Task", "unheard"]

#: Told the share done, 0 to 1, and in words what is being done.
Progress = Callable[[float, str], None]


def unheard(_share: float, _words: str, _shown: Any = None) -> None:
    """Take progress that nobody watches."""


class _Declared(Declared):
    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Check values against the declaration.

        Parameters
        ----------
        values : mapping
            Field names and values.

        Returns
        -------
        Settings or Inputs
            The checked, frozen values.

        Raises
        ------
        SettingsError
            Naming each field that is unknown or out of range.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise SettingsError(in_words(error, "setting", cls.model_fields)) from error
        except TypeError as error:
            # Of a field that makes values of its own; pydantic lets it through.
            raise SettingsError(f"{cls.__name__}: {error}; got {dict(values)!r:.200}.") from error


class Settings(_Declared):
    """Base of the settings of one method of a task: what a form, the CLI, a recipe and provenance show.

    Fields are bool, int, float, str, Literal, Path or Optional of these, with bounds; the text below a field is its
    help. ``json_schema_extra`` may hold ``unit``, ``step``, ``more`` (True hides the field behind *More*), ``live`` (it
    acts on a result without a model) and ``elsewhere`` (the window has another control for it).
    """


class Inputs(_Declared):
    """Base of the inputs of a task: what a person points at, paints or types."""


@dataclass(frozen=True)
class Task:
    """A row of `tasks.TASKS`: all that the engine, the window, recipes and the CLI know of a task.

    Parameters
    ----------
    name : str
        Its name in Python, on the command line and in recipes.
    title : str
        Its name in the window.
    inputs : type of Inputs
        What it works on besides the image.
    methods : mapping of str to type of Settings
        A settings type for each method; the field ``method`` of each holds its name.
    protocols : mapping of str to str
        The protocol of `models.protocols` that each method needs of a model.
    function : callable
        Runs it; takes what `run` takes.
    slices : callable
        Given the image and the inputs, the slices that a run looks at.
    of_labels : bool
        Whether it says something of objects that are there, its input ``labels``: as a step of a recipe of those of the
        steps before.
    """

    name: str
    title: str
    inputs: type[Inputs]
    methods: Mapping[str, type[Settings]]
    protocols: Mapping[str, str]
    function: Callable[..., Segmentation]
    slices: Callable[[Any, Any], list[tuple[int, ...]]]
    of_labels: bool = False

    def settings(self, method: str, values: Mapping[str, Any]) -> Settings:
        """Check a method's settings.

        Parameters
        ----------
        method : str
            One of `methods`.
        values : mapping
            Field names and values.

        Returns
        -------
        Settings
            The checked settings.

        Raises
        ------
        SettingsError
            If the method or a setting is unknown, or a value is out of range.
        """
        if method not in self.methods:
            raise SettingsError(f"{self.title} has no method {method!r}; choose one of {', '.join(self.methods)}.")
        return self.methods[method].parse({"method": method, **values})

    def method_for(self, protocols: Collection[str]) -> str:
        """Return the method to use where none was chosen.

        Parameters
        ----------
        protocols : collection of str
            The protocols that the model implements.

        Returns
        -------
        str
            The first of `methods` whose protocol is among them; the very first if none is.
        """
        return next((m for m in self.methods if self.protocols[m] in protocols), next(iter(self.methods)))

    def run(
        self,
        image: Image,
        inputs: Inputs,
        settings: Settings,
        model: Any,
        progress: Progress = unheard,
        cancelled: Callable[[], bool] = bool,
    ) -> Segmentation:
        """Run the task in this process.

        Parameters
        ----------
        image : Image
            The image.
        inputs : Inputs
            Of this task's type.
        settings : Settings
            Of one of this task's methods.
        model : loaded model
            Of the protocol that the method needs.
        progress : callable
            Called with the share done and words.
        cancelled : callable
            Asked once a batch; the run stops when it returns True.

        Returns
        -------
        Segmentation
            The result.

        Raises
        ------
        Cancelled
            If `cancelled` returned True.
        """
        return self.function(image, inputs, settings, model, progress, cancelled)
