"""`open_desktop`: the desktop of the system that this program runs on."""

import os
import sys

from gi_data.desktop.protocol import Desktop
from gi_model.errors import GameError


def open_desktop() -> Desktop:
    """The desktop. Raises GameError where there is none that we can see and type into."""
    try:
        if sys.platform in ("win32", "darwin"):
            from gi_data.desktop.portable import PortableDesktop

            return PortableDesktop()
        if os.environ.get("WAYLAND_DISPLAY") and not os.environ.get("DISPLAY"):
            do = "Log in to an X11 session, or run the game under XWayland with DISPLAY set."
            raise GameError("Wayland lets no program see other windows or type into them", do=do)
        from gi_data.desktop.x11 import X11Desktop

        return X11Desktop()
    except ImportError as error:
        do = "pip install 'gi-model[desktop]'"
        raise GameError("windows need packages that are not installed", got=error.name, do=do) from error
