"""``impasto --install-completion``: commands and options by Tab."""

from typing import Literal

from cyclopts.completion.detect import ShellDetectionError

from impasto.cli.app import app
from impasto.cli.console import printable
from impasto.errors import ImpastoError


@app.command(name="--install-completion")
def install_completion(*, shell: Literal["bash", "fish", "powershell", "zsh"] | None = None) -> int:
    """Make the shell complete impasto's commands, options and choices by Tab.

    Parameters
    ----------
    shell
        The shell; the one that runs the command unless given.

    """
    try:
        path = app.install_completion(shell=shell)
    except ShellDetectionError as error:
        raise ImpastoError("cannot tell which shell this is; name it by --shell, as --shell bash") from error
    print(printable(f"{path}; open a new shell, and press Tab after impasto"))
    return 0
