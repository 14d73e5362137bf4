"""Run the application in uvicorn: drain when stopped, exit with 0."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from typing import Any

from jrank.errors import ServeError, require

__all__ = ["serve"]


def serve(app: Any, host: str, port: int, *, grace: int = 30, quiet: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; requests that have begun are finished first.

    Args:
      app: an ASGI application.
      host: address to listen on.
      port: port; 0 takes a free one.
      grace: most seconds for requests that have begun.
      quiet: no line per request.

    Returns:
      0 after a stop that was asked for.

    Raises:
      ServeError: the address cannot be listened on.
    """
    uvicorn = require("uvicorn", "http")

    class Server(uvicorn.Server):
        """A server for which being stopped is no failure."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.handle_exit, number, None)
            try:
                yield
            finally:
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.remove_signal_handler(number)

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                name, number = self.servers[0].sockets[0].getsockname()[:2]
                sys.stderr.write(f"serving on http://{name}:{number}/ (stop with Ctrl-C)\n")
                sys.stderr.flush()

    log = logging.getLogger("jrank.serving")
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.ERROR if quiet else logging.INFO)
    log.propagate = False
    server = Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=grace,
            limit_concurrency=1024,
            lifespan="on",
        )
    )
    try:
        server.run()
    except SystemExit:
        server.started = False
    if not server.started:
        raise ServeError(
            f"cannot listen on {host}:{port}", reason="invalid_parameter", hint="another program may use that port"
        )
    return 0
