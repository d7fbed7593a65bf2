"""`Task`, a row of the table of tasks, and the base classes of its inputs and settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Self

from numpy.typing import NDArray
from pydantic.fields import FieldInfo

from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.errors import Cancelled, SettingsError
from napari_foundseg.models.catalog import row
from napari_foundseg.models.row_defaults import as_expected
from napari_foundseg.tasks.notes import with_notes

if TYPE_CHECKING:
    from napari_foundseg.core.image import Image
    from napari_foundseg.core.pixels.colour import ColourRule
    from napari_foundseg.core.pyramids import Level
    from napari_foundseg.core.result import Segmentation

__all__ = ["Inputs", "Poll", "Progress", "Settings", "Task", "ignore_progress", "make_poll"]

#: Called with the fraction done, 0 to 1, and a text that says what the task is doing. A task may add a dict of what can
#: be shown already: of several that wait only the latest is passed on, but every item of its list ``parts``.
Progress = Callable[[float, str], None]
#: Raises `Cancelled` to stop.
Poll = Callable[[], None]


def make_poll(cancelled: Callable[[], bool], what: str) -> Poll:
    """Return a function that raises `Cancelled` once `cancelled` is True; `what` was done, such as "The search"."""

    def poll() -> None:
        if cancelled():
            raise Cancelled(f"{what} was cancelled.")

    return poll


def ignore_progress(_fraction: float, _text: str, _shown: Any = None) -> None:
    """Do nothing: the default where the caller shows no progress."""


def _taking_shown(progress: Progress) -> Progress:
    """Return a progress function that takes what can be shown already; it is dropped where the given one does not."""
    try:
        signature(progress).bind(0.0, "", None)
    except TypeError:

        def without_shown(share: float, words: str, _shown: Any = None) -> None:
            progress(share, words)

        return without_shown
    except ValueError:
        # A builtin, which says nothing of what it takes.
        return progress
    return progress


class _Recorded(Declared):
    """What recipes and results hold of a run."""

    @classmethod
    def absent_values(cls) -> dict[str, Any]:
        """Return what fields mean that a record lacks, where that is not the default."""
        fields = {name: _extra(field) for name, field in cls.model_fields.items()}
        return {name: extra["absent"] for name, extra in fields.items() if "absent" in extra}

    def digested(self) -> dict[str, Any]:
        """Return the values that determine a result, as JSON; equal for records written before and after a field."""
        absent = self.absent_values()
        values = self.model_dump(mode="json")
        return {name: value for name, value in values.items() if name not in absent or value != absent[name]}


class Settings(_Recorded):
    """Base of the settings of one method of a task; form, command line, recipes and provenance are made of them.

    Fields are bool, int, float, str, Literal, Path or Optional of these, with bounds. The text below a field is its
    tooltip and its help on the command line; ``title`` is its label where the field's name would be unclear.
    ``json_schema_extra`` may hold

    - ``unit``: shown after the label; fields in ``pixels`` are converted for the coarser levels of a pyramid,
    - ``area``: True for a number of pixels, as opposed to a length in pixels,
    - ``step``: of the control,
    - ``more``: True hides the field behind *More*,
    - ``live``: True where it acts on an existing result without the model,
    - ``absent``: what recipes and results that lack the field ran with, where that is not the default,
    - ``steps``: "new" where steps of recipes that are made in Python without the field have the default all the same,
    - ``model``: the protocol of the models to choose from,
    - ``beside``: True where the dock has a control of its own that sets the form's value, which is not shown,
    - ``elsewhere``: True where the dock has a control of its own for it.
    """

    #: Seconds per megapixel, or per thousand prompts, until a run has been measured: two cores, the built-in model.
    first_speed: ClassVar[float] = 5.0
    #: What RGB images are to the method, with a model that expects grey pictures: it finds the objects of one dye by
    #: itself, or the user says where objects of any dye are (grey), or colours are part of what it finds (RGB).
    colours: ClassVar[ColourRule] = "RGB"
    #: Whether the method sees projections where the image has a slab; else it sees the slices themselves.
    sees_slabs: ClassVar[bool] = True

    if TYPE_CHECKING:

        @property
        def method(self) -> str:
            """The method's name: a field of every subclass, which narrows it to one Literal."""

    @classmethod
    def label_of(cls, field: str) -> str:
        """Return the label of a field's control; that of ``method`` is the method's name in the window."""
        info = cls.model_fields[field]
        return str(info.default).capitalize() if field == "method" and not info.title else super().label_of(field)

    @classmethod
    def of_record(cls, values: Mapping[str, Any], *, stored: bool = True) -> Self:
        """Return checked settings of a recipe or a result; fields that it lacks have the value that it ran with.

        `stored`: whether it was ever written to a file; else it is a step that was made in Python.
        """
        new = () if stored else cls.names_of_new()
        then = {name: value for name, value in cls.absent_values().items() if name not in new}
        return cls.parse({**then, **values})

    @classmethod
    def names_of_new(cls) -> tuple[str, ...]:
        """Return the fields that have their default in steps that are made in Python without them."""
        return tuple(name for name, field in cls.model_fields.items() if _extra(field).get("steps") == "new")

    @classmethod
    def live_fields(cls) -> set[str]:
        """Return the settings that act on a result without the model."""
        return {name for name, field in cls.model_fields.items() if _extra(field).get("live")}

    def live_on(self, record: Mapping[str, Any]) -> Self:
        """Return the settings that a result was made with, and of these those that act on it without the model."""
        made = type(self).of_record({name: v for name, v in record.items() if name in type(self).model_fields})
        return made.model_copy(update={name: getattr(self, name) for name in self.live_fields()})

    @property
    def prompts_per_slice(self) -> int:
        """How many prompts the method makes by itself in each slice; they take time beside the pixels."""
        return 0

    def at_level(self, level: Level) -> Self:
        """Return the same settings with lengths and areas in pixels of a coarser level of a pyramid."""
        names = [name for name, field in type(self).model_fields.items() if _extra(field).get("unit") == "pixels"]
        return self._divided(names, level)

    def _divided(self, names: Collection[str], level: Level) -> Self:
        area = level.factors[0] * level.factors[1]
        values: dict[str, float] = {}
        for name in names:
            value = getattr(self, name)
            if value is not None:
                is_area = _extra(type(self).model_fields[name]).get("area")
                smaller = value / (area if is_area else area**0.5)
                values[name] = round(smaller) if isinstance(value, int) else smaller
        return self.model_copy(update=values)


def _extra(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


class Inputs(_Recorded):
    """Base of the inputs of a task: where to look, and all that the user points at, paints or types.

    The methods say what the window and a batch must know of inputs; override those whose answer differs.
    """

    #: Whether the task works on objects that exist already; see `with_labels`.
    takes_labels: ClassVar[bool] = False

    def extent(self, image: Image) -> tuple[int, int]:
        """Return how many slices a run looks at and how many pixels of each, to estimate its time."""
        slices = 1
        for length in image.slice_shape:
            slices *= length
        height, width = image.plane_shape
        return slices, height * width

    def at_level(self, level: Level) -> Self:  # noqa: ARG002 - for subclasses
        """Return the same inputs with coordinates in pixels of a coarser level of a pyramid."""
        return self

    def with_labels(self, labels: NDArray[Any]) -> Self:  # noqa: ARG002 - for subclasses
        """Return these inputs with the objects of the earlier steps of a recipe, where they name no others."""
        return self

    def python_arguments(self, without: Collection[str] = ()) -> dict[str, str]:
        """Return the source text of each input that is set, but for some, as *Copy as Python* writes it."""
        values = self.model_dump(mode="python", exclude=set(without))
        return {name: repr(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Task:
    """A row of `tasks.TASKS`: all that the engine, the window, recipes and the command line know of a task.

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
        Takes the image and the inputs and returns the indices of the slices that a run reads.
    menus : tuple of str
        Submenus of napari's *Layers* menu that offer its dock, such as ``segment``; *Plugins › FoundSeg* always does.
    learns_time : bool
        Whether the duration of its runs is kept to estimate the next one.
    finds_objects : bool
        Whether a result without objects comes with its reason.
    reads_once : bool
        Whether a run goes through the slices of a stack one after the other, so that they need not be kept for it.
    """

    name: str
    title: str
    inputs: type[Inputs]
    methods: Mapping[str, type[Settings]]
    protocols: Mapping[str, str]
    function: Callable[..., Segmentation]
    slices: Callable[[Any, Any], list[tuple[int, ...]]]
    menus: tuple[str, ...] = ()
    learns_time: bool = True
    finds_objects: bool = True
    reads_once: bool = False

    @property
    def takes_labels(self) -> bool:
        """Whether it works on existing objects: as a step of a recipe, on those of the steps before it."""
        return self.inputs.takes_labels

    def settings(self, method: str, values: Mapping[str, Any]) -> Settings:
        """Return checked settings of a method; `SettingsError` where the method or a field is wrong."""
        return self._method(method).parse({"method": method, **values})

    def settings_of_record(self, method: str, values: Mapping[str, Any], *, stored: bool = True) -> Settings:
        """Return checked settings of a method as a recipe or a result holds them, which may be older than a field."""
        return self._method(method).of_record({"method": method, **values}, stored=stored)

    def method_for(self, protocols: Collection[str]) -> str:
        """Return the first method that a model with these protocols can run; the very first if it can run none."""
        return next((m for m in self.methods if self.protocols[m] in protocols), next(iter(self.methods)))

    def _method(self, method: str) -> type[Settings]:
        if method not in self.methods:
            raise SettingsError(f"{self.title} has no method {method!r}; choose one of {', '.join(self.methods)}.")
        return self.methods[method]

    def run(
        self,
        image: Image,
        inputs: Inputs,
        settings: Settings,
        model: Any,
        progress: Progress = ignore_progress,
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
            Called with the fraction done, 0 to 1, and a text.
        cancelled : callable
            Called once per batch or window; the run stops when it returns True.

        Returns
        -------
        Segmentation
            Labels of the image's shape without channels.

        Raises
        ------
        Cancelled
            If `cancelled` returned True.
        """
        if model is not None:
            image = as_expected(row(model.name), image, settings.colours)
        if not settings.sees_slabs:
            image = image.without_slab()
        found = self.function(image, inputs, settings, model, _taking_shown(progress), cancelled)
        return with_notes(found, image, finds_objects=self.finds_objects)
