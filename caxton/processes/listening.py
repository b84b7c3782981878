"""The socket that the API is served on."""

from __future__ import annotations

import contextlib
import socket

from caxton.config import Config
from caxton.errors import AddressInUse, ConfigInvalid

__all__ = ["listen"]


def listen(config: Config, stack: contextlib.AsyncExitStack) -> tuple[socket.socket, str]:
    """Listen where the settings say; the socket, closed with ``stack``, and the URL to it.

    Raises:
        ConfigInvalid: ``host`` is no address of this machine.
        AddressInUse: somebody else listens there.
    """
    host, port = config.host, config.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    stack.callback(listener.close)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise ConfigInvalid(
                field="host", value=host, allowed="an address of this machine", origin="given"
            ) from error
        raise AddressInUse(host=host, port=port) from error
    listener.listen(1_024)
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    return listener, f"http://{shown}:{listener.getsockname()[1]}"
