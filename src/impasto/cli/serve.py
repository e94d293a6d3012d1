"""``impasto serve``."""

import sys
from typing import Annotated

from cyclopts import Parameter

from impasto.cli.app import app, needs_extra
from impasto.cli.console import printable, tell
from impasto.web.settings import ServeConfig

DEFAULT = ServeConfig()


@app.command
def serve(settings: Annotated[ServeConfig, Parameter(name="*")] = DEFAULT) -> int:
    """Open the web app and the HTTP API.

    Parameters
    ----------
    settings
        Everything that decides how the server behaves.

    """
    if not settings.is_local and not settings.token:
        tell(f"warning: {settings.host} lets other machines in, and anyone may paint; give --token, or a proxy")

    def told(address: str) -> None:
        shown = f"{address}?token={settings.token}" if settings.token else address
        print(printable(shown), flush=True)
        print("Ctrl-C ends it", file=sys.stderr, flush=True)

    from impasto.web.workers import Processes

    try:
        with Processes(settings) as processes:
            with needs_extra("web"):
                from impasto.web.server import serve as run  # which takes as long as the processes do to start
            run(settings, processes, told)
    except OSError as error:
        if error.filename:  # no address: a file or a program that cannot be used
            raise
        tell(f"cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}; try another --port")
        return 1
    return 0
