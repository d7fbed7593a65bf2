"""A task's inputs and settings for a coarser level of a pyramid."""

from __future__ import annotations

from typing import Any

from napari_foundseg.core.pyramids import Level
from napari_foundseg.tasks.settings import Inputs, Settings

__all__ = ["at_level"]


def at_level(inputs: Inputs, settings: Settings, level: Level) -> tuple[Inputs, Settings]:
    """Return what is given in pixels of the finest level in pixels of another.

    Parameters
    ----------
    inputs : Inputs
        With prompts or a region, or neither.
    settings : Settings
        Fields whose unit is pixels are lengths, those named ``..._area`` areas.
    level : Level
        The level.

    Returns
    -------
    Inputs
        Of the level.
    Settings
        Of the level.
    """
    given: dict[str, Any] = {}
    if prompts := getattr(inputs, "prompts", None):
        given["prompts"] = tuple(map(level.prompt, prompts))
    if region := getattr(inputs, "region", None):
        given["region"] = level.region(region)
    (fy, fx), values = level.factors, {}
    for name, field in type(settings).model_fields.items():
        value, extra = getattr(settings, name), field.json_schema_extra
        counted = extra.get("unit") == "pixels" if isinstance(extra, dict) else False
        if name == "diameter":
            counted = getattr(settings, "diameter_unit", "pixels") == "pixels"
        if counted and value is not None:
            smaller = value / (fy * fx if name.endswith("_area") else (fy * fx) ** 0.5)
            values[name] = round(smaller) if isinstance(value, int) else smaller
    return inputs.model_copy(update=given), settings.model_copy(update=values)
