"""Controls that cannot act are disabled, and their tooltips say why."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget

__all__ = ["set_usable"]

_HELP = "foundseg_help"
_SHOWN = "foundseg_shown_help"


def set_usable(widget: QWidget, why_not: str) -> None:
    """Enable a control, or disable it where there is a reason, which its tooltip then begins with."""
    # A tooltip that was set elsewhere since is the control's own.
    if widget.property(_HELP) is None or widget.toolTip() != widget.property(_SHOWN):
        widget.setProperty(_HELP, widget.toolTip())
    own = str(widget.property(_HELP))
    shown = f"{why_not}\n\n{own}".strip() if why_not else own
    widget.setToolTip(shown)
    widget.setProperty(_SHOWN, shown)
    widget.setEnabled(not why_not)
