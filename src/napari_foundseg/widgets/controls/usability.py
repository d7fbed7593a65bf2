"""Disabling controls that cannot be used, with the reason in their tooltips."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget

__all__ = ["set_usable"]

_HELP = "foundseg_help"
_SHOWN = "foundseg_shown_help"


def set_usable(widget: QWidget, why_not: str) -> None:
    """Enable a control, or disable it if `why_not` gives a reason; the tooltip then begins with the reason."""
    # If the tooltip was changed elsewhere since, the new text is the control's own help.
    if widget.property(_HELP) is None or widget.toolTip() != widget.property(_SHOWN):
        widget.setProperty(_HELP, widget.toolTip())
    own = str(widget.property(_HELP))
    shown = f"{why_not}\n\n{own}".strip() if why_not else own
    widget.setToolTip(shown)
    widget.setProperty(_SHOWN, shown)
    widget.setEnabled(not why_not)
