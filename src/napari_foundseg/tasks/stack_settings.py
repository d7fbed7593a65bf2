"""`StackSettings`: how the slices of a stack become objects, shared by all tasks that make objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue, field_validator

from napari_foundseg.core.classes.linking import LinkRule
from napari_foundseg.core.films.tracking import TrackRule
from napari_foundseg.tasks.settings import Settings

__all__ = ["ClassStackSettings", "Link", "StackSettings", "link_record", "slice_distance"]

Link = Literal["none", "overlap", "3d", "tracks", "overlap in depth and time"]
#: Axes along which sections become one body, for each kind of link.
_BODY_AXES: dict[Link, str] = {"none": "", "overlap": "Z", "3d": "Z", "tracks": "Z", "overlap in depth and time": "ZT"}
#: Options that the fields of tracks have in all tasks.
_TRACKS: dict[str, JsonValue] = {"more": True, "live": True}


class StackSettings(Settings):
    """Base of the settings of methods that make objects of stacks."""

    #: Axes along which "overlap" links in records of earlier versions; None for all axes of slices.
    linked_before: ClassVar[str | None] = "Z"

    link: Link = Field("3d", title="Link slices", json_schema_extra={"live": True, "absent": "none"})
    """How the slices of a stack become objects in 3-D; each point in time has objects of its own. 3d: a watershed in
    the whole volume where the model sees depths, by overlap where it does not. Overlap: objects of neighbouring slices
    that lie over one another become one, through the depth (Z); columns are parted at necks. Tracks: as 3d, and objects
    keep their ids through time (T) while they move; daughters of a division have a parent. Overlap in depth and time:
    the same ids through time by overlap alone. None: each slice has objects of its own."""
    link_rule: LinkRule = Field("all slices", json_schema_extra={"absent": "best match", "elsewhere": True})
    """How overlap links. All slices: the best choice for the whole stack. Best match: as earlier versions did, two
    sections are one object if each is the other's best match; recipes that do not say it have this."""

    max_movement: float | None = Field(
        None, gt=0, title="Maximum movement", json_schema_extra={"unit": "pixels", "absent": None, **_TRACKS}
    )
    """For tracks: maximum distance that an object moves from one frame to the next. Empty: found from the film, and
    shown."""
    divisions: bool = Field(True, json_schema_extra={"absent": True, **_TRACKS})
    """For tracks: whether an object may divide in two and become the parent of both."""
    max_gap: int = Field(
        1, ge=0, le=10, title="Maximum gap", json_schema_extra={"unit": "frames", "absent": 1, **_TRACKS}
    )
    """For tracks: maximum number of consecutive frames in which an object may be missing and keep its id."""

    @field_validator("link", mode="before")
    @classmethod
    def _of_switch(cls, value: Any) -> Any:
        """Convert the switch of earlier versions; True was "overlap"."""
        return {True: "overlap", False: "none"}[value] if isinstance(value, bool) else value

    @property
    def track_rule(self) -> TrackRule | None:
        """How objects are tracked along time; None if they are not."""
        return TrackRule(self.max_movement, self.divisions, self.max_gap) if self.link == "tracks" else None

    def linked_axes(self, axes: str) -> str:
        """Return the axes of a label image along which objects continue, as bodies or as tracks."""
        return self.body_axes(axes) + ("T" if self.link == "tracks" and "T" in axes else "")

    def body_axes(self, axes: str) -> str:
        """Return the axes of a label image along which sections become one body."""
        along = _BODY_AXES[self.link]
        if self.link == "overlap" and self.link_rule == "best match" and self.linked_before is None:
            along = "".join(axis for axis in axes if axis not in "YX")
        # Slices of an unnamed axis count as depth, as for an array without axes.
        along = along if "Z" in axes else along.replace("Z", "Q")
        return "".join(axis for axis in along if axis in axes)


class ClassStackSettings(StackSettings):
    """Stack settings of tasks with classes, whose earlier versions linked along all axes of slices, or along none."""

    linked_before: ClassVar[str | None] = None

    link: Link = Field("3d", title="Link slices", json_schema_extra={"more": True, "absent": "none"})
    """How the slices of a stack become objects in 3-D; each point in time has objects of its own. 3d: a watershed in
    the whole volume where the model sees depths, by overlap where it does not. Overlap: objects of neighbouring slices
    that lie over one another become one, through the depth (Z); columns are parted at necks. Tracks: as 3d, and objects
    keep their ids through time (T) while they move; daughters of a division have a parent. Overlap in depth and time:
    the same ids through time by overlap alone. None: each slice has objects of its own."""

    def digested(self) -> dict[str, Any]:
        """Return the values that determine a result; results of the earlier switch stay up to date."""
        values = super().digested()
        if self.link == "none" or (self.link == "overlap" and self.link_rule == "best match"):
            values = {name: value for name, value in values.items() if name != "link_rule"}
            values["link"] = self.link != "none"
        return values


def slice_distance(spacing: Mapping[str, float], along: str = "Z") -> float:
    """Return the distance of slices along the first of the axes `along`, in pixels of a slice; 1 if it is unknown."""
    size = spacing.get("Y", 0.0)
    if not along or not size or along[0] not in spacing:
        return 1.0
    return abs(spacing[along[0]] / size) or 1.0


def link_record(
    settings: StackSettings, linked: str, *, planes: Sequence[str] = (), why: str = ""
) -> dict[str, dict[str, Any]]:
    """Return the provenance entry on how slices became objects; empty if none were linked.

    `planes` are the planes whose maps a watershed in 3-D used. Without them slices were linked by overlap, and `why` is
    the reason for not using 3-D.
    """
    if not linked:
        return {}
    if planes:
        return {"linking": {"how": "3d", "planes": list(planes)}}
    asked = {"why": why} if settings.link in ("3d", "tracks") else {}
    return {"linking": {"how": "overlap", "rule": settings.link_rule, **asked}}
