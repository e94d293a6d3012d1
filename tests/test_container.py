"""The container file, as far as can be told without a container engine."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from impasto.cli.app import app
from impasto.doctor import EXTRAS
from impasto.web.settings import ServeConfig
from serving import serving

ROOT = Path(__file__).parent.parent
LINES = re.sub(r"\\\n", " ", (ROOT / "Containerfile").read_text("utf-8")).splitlines()


def said(word: str) -> list[str]:
    """What follows an instruction, each time that it is given."""
    return [line.split(maxsplit=1)[1] for line in LINES if line.split(maxsplit=1)[:1] == [word]]


def health(port: int) -> list[str]:
    """Command of the health check, on another port."""
    command: list[str] = json.loads(said("HEALTHCHECK")[0].partition(" CMD ")[2])
    assert command[0] == "python"
    return [sys.executable, *(word.replace(":8080", f":{port}") for word in command[1:])]


def test_what_it_copies_is_there_and_not_ignored() -> None:
    own = [shlex.split(line)[:-1] for line in said("COPY") if not line.startswith("--from")]
    paths = {path for line in own for path in line}
    assert {"pyproject.toml", "src"} <= paths
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    for path in paths:
        assert (ROOT / path).exists(), path
        assert f"!{path}" in ignored


def test_it_copies_all_that_the_package_is_built_from() -> None:
    copied = " ".join(said("COPY"))
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for name in re.findall(r"^(?:readme|license-files) = \[?\"([^\"]+)", project, re.MULTILINE):
        assert name in copied
    (extras,) = re.findall(r"EXTRAS=(\S+)", (ROOT / "Containerfile").read_text("utf-8"))
    assert set(extras.split(",")) < set(EXTRAS)


def test_its_command_is_one_and_its_user_is_nobody_special() -> None:
    (entry,), (arguments,) = said("ENTRYPOINT"), said("CMD")
    assert json.loads(entry) == ["impasto"]
    _, bound, _ = app.parse_args(json.loads(arguments), exit_on_error=False)
    settings = bound.arguments["settings"]
    assert isinstance(settings, ServeConfig)
    assert not settings.is_local
    assert [str(settings.port)] == said("EXPOSE")
    (folder,) = said("VOLUME")
    assert settings.data is not None
    assert settings.data.is_relative_to(folder)
    assert said("USER") == ["10001:10001"]
    last = [line.split()[0] for line in LINES if line and not line.startswith("#")]
    assert last.index("USER") > max(i for i, word in enumerate(last) if word in ("RUN", "COPY"))


@pytest.mark.parametrize("token", ["", "a long secret"])
def test_its_health_check_tells_a_server_that_lives_from_one_that_does_not(token: str) -> None:
    with serving("--host", "0.0.0.0", *(["--token", token] if token else [])) as server:
        subprocess.run(health(server.port), check=True, timeout=30)
    done = subprocess.run(health(server.port), capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
