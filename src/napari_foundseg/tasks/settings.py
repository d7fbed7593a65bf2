"""`Task`, a row of the table of tasks, and the base classes of inputs and settings."""

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

#: Called with the fraction done, 0 to 1, and a text that describes the current step. A task may add a dict of partial
#: results to show. Of several waiting calls, only the latest is passed on, but with every item of the list ``parts``.
Progress = Callable[[float, str], None]
#: Called often during a run; raises `Cancelled` to stop it.
Poll = Callable[[], None]


def make_poll(cancelled: Callable[[], bool], what: str) -> Poll:
    """Return a function that raises `Cancelled` once `cancelled` is True; `what` begins its message ("The search")."""

    def poll() -> None:
        if cancelled():
            raise Cancelled(f"{what} was cancelled.")

    return poll


def ignore_progress(_fraction: float, _text: str, _shown: Any = None) -> None:
    """Do nothing; the default of `progress` arguments."""


def _taking_shown(progress: Progress) -> Progress:
    """Return a progress function that takes partial results, and drops them if `progress` does not take them."""
    try:
        signature(progress).bind(0.0, "", None)
    except TypeError:

        def without_shown(share: float, words: str, _shown: Any = None) -> None:
            progress(share, words)

        return without_shown
    except ValueError:
        # A builtin, whose parameters cannot be read.
        return progress
    return progress


class _Recorded(Declared):
    """Base of the parts of a run that recipes and results record."""

    @classmethod
    def absent_values(cls) -> dict[str, Any]:
        """Return the values of fields that are missing in a record, for fields for which that is not the default."""
        fields = {name: _extra(field) for name, field in cls.model_fields.items()}
        return {name: extra["absent"] for name, extra in fields.items() if "absent" in extra}

    def digested(self) -> dict[str, Any]:
        """Return the values that determine a result, as JSON.

        Fields that equal their value in records without them are left out, so that older and newer records are equal.
        """
        absent = self.absent_values()
        values = self.model_dump(mode="json")
        return {name: value for name, value in values.items() if name not in absent or value != absent[name]}


class Settings(_Recorded):
    """Base of the settings of one method of a task: forms, the command line, recipes and provenance are made from them.

    Fields are bool, int, float, str, Literal, Path or Optional of these, with bounds. The text below a field is its
    tooltip and its help on the command line. ``title`` is its label if the field's name would be unclear.
    ``json_schema_extra`` may hold

    - ``unit``: shown after the label; fields in ``pixels`` are converted for the coarser levels of a pyramid,
    - ``area``: True for a number of pixels, as opposed to a length in pixels,
    - ``step``: step of the control,
    - ``more``: True to hide the field under *More*,
    - ``live``: True if the field acts on an existing result without the model,
    - ``absent``: the value for recipes and results that lack the field, if that is not the default,
    - ``steps``: "new" if recipe steps that are made in Python without the field have the default nevertheless,
    - ``model``: the protocol of the models to choose from,
    - ``beside``: True if a separate control of the dock sets the value of the form's control, which is hidden,
    - ``elsewhere``: True if the dock has a separate control for the field.
    """

    #: Seconds per megapixel, or per thousand prompts, before a run has been timed: two cores, the built-in model.
    first_speed: ClassVar[float] = 5.0
    #: How the method treats RGB images with a model that expects grey pictures: "one dye" if it finds the objects of
    #: one dye by itself, "grey" if the user points at objects of any dye, "RGB" if colours help to find objects.
    colours: ClassVar[ColourRule] = "RGB"
    #: Whether the method sees projections if the image has a slab; otherwise it sees the slices themselves.
    sees_slabs: ClassVar[bool] = True

    if TYPE_CHECKING:

        @property
        def method(self) -> str:
            """Name of the method: a field of every subclass, with a Literal type of this one name."""

    @classmethod
    def label_of(cls, field: str) -> str:
        """Return the label of a field's control; the label of ``method`` is the method's name in the window."""
        info = cls.model_fields[field]
        return str(info.default).capitalize() if field == "method" and not info.title else super().label_of(field)

    @classmethod
    def of_record(cls, values: Mapping[str, Any], *, stored: bool = True) -> Self:
        """Return checked settings of a recipe or a result; fields that it lacks get the value that it ran with.

        `stored` is whether the record has been written to a file; otherwise it is a step made in Python.
        """
        new = () if stored else cls.names_of_new()
        then = {name: value for name, value in cls.absent_values().items() if name not in new}
        return cls.parse({**then, **values})

    @classmethod
    def names_of_new(cls) -> tuple[str, ...]:
        """Return the fields that keep their default in steps made in Python without them."""
        return tuple(name for name, field in cls.model_fields.items() if _extra(field).get("steps") == "new")

    @classmethod
    def live_fields(cls) -> set[str]:
        """Return the names of the settings that act on a result without the model."""
        return {name for name, field in cls.model_fields.items() if _extra(field).get("live")}

    def live_on(self, record: Mapping[str, Any]) -> Self:
        """Return the settings of a result, with the values of these settings for those that act without the model."""
        made = type(self).of_record({name: v for name, v in record.items() if name in type(self).model_fields})
        return made.model_copy(update={name: getattr(self, name) for name in self.live_fields()})

    @property
    def prompts_per_slice(self) -> int:
        """Number of prompts that the method makes by itself in each slice; like pixels, they take time."""
        return 0

    def at_level(self, level: Level) -> Self:
        """Return these settings with lengths and areas in pixels of a coarser level of a pyramid."""
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
    """Base of the inputs of a task: the part of the image, and everything that the user points at, paints or types.

    The methods answer questions of the window and of batches; subclasses override those with another answer.
    """

    #: Whether the task works on existing objects; see `with_labels`.
    takes_labels: ClassVar[bool] = False

    def extent(self, image: Image) -> tuple[int, int]:
        """Return the number of slices that a run reads and the pixels in each, to estimate its time."""
        slices = 1
        for length in image.slice_shape:
            slices *= length
        height, width = image.plane_shape
        return slices, height * width

    def at_level(self, level: Level) -> Self:  # noqa: ARG002 - for subclasses
        """Return these inputs with coordinates in pixels of a coarser level of a pyramid."""
        return self

    def with_labels(self, labels: NDArray[Any]) -> Self:  # noqa: ARG002 - for subclasses
        """Return these inputs with the objects of the earlier steps of a recipe, unless they already have labels."""
        return self

    def python_arguments(self, without: Collection[str] = ()) -> dict[str, str]:
        """Return the source text of each input that is not None, except those in `without`, for *Copy as Python*."""
        values = self.model_dump(mode="python", exclude=set(without))
        return {name: repr(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Task:
    """Row of `tasks.TASKS`: everything that the engine, the window, recipes and the command line need of a task.

    Parameters
    ----------
    name : str
        Name in Python, on the command line and in recipes.
    title : str
        Name in the window.
    inputs : type of Inputs
        Type of the inputs besides the image.
    methods : mapping of str to type of Settings
        A settings type for each method; the field ``method`` of each holds its name.
    protocols : mapping of str to str
        The protocol of `models.protocols` that a model must have, for each method.
    function : callable
        Function that runs the task; takes the arguments of `run`.
    slices : callable
        Function that takes the image and the inputs and returns the indices of the slices that a run reads.
    menus : tuple of str
        Submenus of napari's *Layers* menu that open its dock, such as ``segment``; *Plugins › FoundSeg* always does.
    learns_time : bool
        Whether run times are stored to estimate the next one.
    finds_objects : bool
        Whether a result without objects gets notes with reasons.
    reads_once : bool
        Whether a run reads the slices of a stack one after the other, so that they need not be kept in memory.
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
        """Whether the task works on existing objects; as a recipe step, on the objects of earlier steps."""
        return self.inputs.takes_labels

    def settings(self, method: str, values: Mapping[str, Any]) -> Settings:
        """Return checked settings of a method; raise `SettingsError` if the method or a field is wrong."""
        return self._method(method).parse({"method": method, **values})

    def settings_of_record(self, method: str, values: Mapping[str, Any], *, stored: bool = True) -> Settings:
        """Return checked settings of a method from a recipe or a result, which may lack newer fields."""
        return self._method(method).of_record({"method": method, **values}, stored=stored)

    def method_for(self, protocols: Collection[str]) -> str:
        """Return the first method that a model with these protocols can run; the first of all if there is none."""
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
            Inputs of this task's type.
        settings : Settings
            Settings of one of this task's methods.
        model : loaded model
            A model with the protocol that the method needs.
        progress : callable
            Called with the fraction done, 0 to 1, and a text that describes the current step.
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
