"""The container and the service of examples/server start the server that there is."""

import asyncio
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

import pytest

from espnet_smoe.serve.command import get_parser
from tests.serve.http import serve

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples/server"
DOCKERFILE = FOLDER / "Dockerfile"
UNIT = FOLDER / "espnet-smoe.service"


def instructions() -> list[tuple[str, str]]:
    """Keyword and rest of each, continued lines joined."""
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    joined = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in joined if line.strip()]


def last(keyword: str) -> str:
    return [rest for name, rest in instructions() if name == keyword][-1]


@pytest.fixture(scope="module")
def setup_arguments() -> dict:
    """What setup.py gives to setuptools."""
    given: dict = {}
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr("setuptools.setup", lambda **kwargs: given.update(kwargs))
        runpy.run_path(str(ROOT / "setup.py"))
    return given


def test_the_commands_of_the_container_are_right_shell():
    for keyword, rest in instructions():
        if keyword == "RUN":
            done = subprocess.run(["sh", "-n"], input=rest, text=True)
            assert done.returncode == 0, rest


def test_what_runs_in_the_container_is_not_root():
    kinds = [keyword for keyword, _ in instructions()]
    user = last("USER")
    assert user.isdecimal() and int(user) > 0
    assert f"--uid {user} " in last("RUN")
    after = kinds[len(kinds) - kinds[::-1].index("USER") :]
    assert not {"RUN", "COPY", "ADD"} & set(after)


def test_the_packages_of_container_and_service_are_those_of_the_setup(setup_arguments):
    for path in (DOCKERFILE, UNIT):
        extras = re.search(r"(?:/src|\.)\[([\w,]+)\]", path.read_text())[1].split(",")
        assert "serve" in extras
        assert set(extras) <= set(setup_arguments["extras_require"])
    wanted = re.findall(r'"(torch\w*[^"]+)"', DOCKERFILE.read_text())
    assert len(wanted) == 2
    assert set(wanted) <= set(setup_arguments["install_requires"])


def test_the_wheel_is_built_of_what_the_container_is_given(tmp_path):
    lines = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    for rule in rules:
        if rule.startswith("!"):
            source = ROOT / rule[1:]
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, tmp_path / rule[1:])
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        name = str(path.relative_to(tmp_path))
        if any(fnmatch(name, rule) for rule in rules[1:] if "*" in rule):
            shutil.rmtree(path, ignore_errors=True)
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "built"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    built = tmp_path / "built/espnet_smoe"
    assert (built / "serve/server.py").is_file()
    assert (built / "egs2/mini_koen/smoe1/run.sh").is_file()


def test_the_entry_point_is_a_command_of_the_server():
    program, word, *options = json.loads(last("ENTRYPOINT"))
    assert (program, word) == ("espnet-smoe", "serve")
    args = get_parser().parse_args([*options, *json.loads(last("CMD"))])
    assert args.host == "0.0.0.0"
    assert args.port == int(last("EXPOSE"))
    assert args.model[0].startswith("/models/")


def test_the_health_check_tells_a_server_from_none():
    command = json.loads(re.search(r"CMD (\[.*\])", last("HEALTHCHECK"))[1])
    assert command[0] == "python"

    async def check(port: int) -> int:
        words = [w.replace(":8765/", f":{port}/") for w in command[1:]]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, stderr=subprocess.DEVNULL
        )
        return await process.wait()

    async def test(client, server):
        assert await check(client.base_url.port) == 0
        server.admission.stopping = True
        assert await check(client.base_url.port) != 0

    serve(test)
    assert asyncio.run(check(1)) != 0


@pytest.fixture
def unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read(UNIT, encoding="utf-8")
    return parser


def test_the_service_starts_the_server_without_rights(unit):
    service = unit["Service"]
    program, word, *options = shlex.split(service["ExecStart"])
    assert (Path(program).name, word) == ("espnet-smoe", "serve")
    args = get_parser().parse_args(options)
    assert int(service["TimeoutStopSec"]) > args.max_grace
    assert service["DynamicUser"] == service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict" and service["PrivateTmp"] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert unit["Install"]["WantedBy"] == "multi-user.target"


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd here"
)
def test_systemd_knows_every_line_of_the_service(unit, tmp_path):
    text = UNIT.read_text(encoding="utf-8")
    program = unit["Service"]["ExecStart"].split()[0]
    path = tmp_path / UNIT.name
    path.write_text(text.replace(f"={program}", f"={sys.executable}"))
    words = ["systemd-analyze", "verify", "--man=no", path]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
