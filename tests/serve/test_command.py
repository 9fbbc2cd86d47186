"""Options of the command that concern who may come, and how."""

import asyncio
import math
import socket
import ssl
import sys
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect

from espnet_smoe.cli import main
from espnet_smoe.serve import command
from espnet_smoe.serve.access import TOKEN, Access, read_tokens
from espnet_smoe.serve.limits import Limits
from espnet_smoe.serve.models import find_model, load_models, parse_name
from espnet_smoe.serve.server import Server
from tests.serve.fake import END, FakeRecognizer, hear, model, running

# made for this test, for a hundred years
CERTIFICATE = [str(Path(__file__).parent / "tls" / f"{n}.pem") for n in ("cert", "key")]


def test_a_certificate_serves_both_kinds_of_clients():
    async def run():
        server = Server([model(FakeRecognizer())], Limits(), certificate=CERTIFICATE)
        port = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(server.run("localhost", 0, port.set_result))
        await asyncio.wait([task, port], return_when=asyncio.FIRST_COMPLETED)
        trust = ssl.create_default_context(cafile=CERTIFICATE[0])
        place = f"s://localhost:{await port}"
        async with httpx2.AsyncClient(verify=trust) as client:
            told = await client.get(f"http{place}/v1/models")
            assert told.json()["data"][0]["id"] == "fake"
        async with connect(f"ws{place}", ssl=trust) as client:
            await client.send(END)
            assert (await hear(client))[1] == 1000
        server.stop()
        await task

    asyncio.run(run())


def test_a_websocket_brings_its_token_in_one_of_two_ways():
    async def run():
        access = Access(tokens=["right-token"])
        async with running(access=access) as (_, url):
            for options in (
                {"additional_headers": {"Authorization": "Bearer right-token"}},
                {"subprotocols": ["realtime", "openai-insecure-api-key.right-token"]},
            ):
                async with connect(url, **options) as client:
                    await client.send(END)
                    assert (await hear(client))[1] == 1000
            for options in (
                {},
                {"additional_headers": {"Authorization": "Bearer wrong-token"}},
                {"subprotocols": ["realtime", "openai-insecure-api-key.wrong"]},
            ):
                with pytest.raises(Exception, match="HTTP 401"):
                    await connect(url, **options)

    asyncio.run(run())


def test_tokens_come_from_a_file_and_from_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "tokens"
    file.write_text("first-token\n\n second-token \n")
    monkeypatch.setenv(TOKEN, "third-token")
    assert read_tokens(file) == ["third-token", "first-token", "second-token"]
    assert read_tokens(None) == ["third-token"]


@pytest.mark.parametrize(
    "content", ["", "\n", "short\n", "with a space\n", "löngword\n"]
)
def test_a_file_that_holds_no_good_tokens_is_refused(content, tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    file = tmp_path / "tokens"
    file.write_text(content)
    with pytest.raises(ValueError, match="token"):
        read_tokens(file)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--tls-cert {cert}", "--tls-cert and --tls-key go together"),
        ("--tls-cert {cert} --tls-key {cert}", "no certificate and its key"),
        ("--tls-cert {cert} --tls-key nothing", "nothing: No such file"),
        ("--token-file nothing", "nothing: No such file"),
        ("--max-upload 0", "--max-upload must be above 0"),
        ("--max-per-client 0", "--max-per-client must be above 0"),
        ("--model exp/none", "two are called 'none'"),
        ("--config a.yaml --config b.yaml", "2 times --config for 1 models"),
    ],
)
def test_options_that_nobody_can_use_are_told_before_a_model_is_loaded(
    options, said, capsys
):
    words = options.format(cert=CERTIFICATE[0]).split()
    assert main(["serve", "--model", "exp/none", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_model_is_called_as_its_file_or_as_one_says(tmp_path):
    assert parse_name(f"whisper-1={tmp_path}/u2pp.zip")[0] == "whisper-1"
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert parse_name(str(odd)) == ("a=b", str(odd))
    assert parse_name("exp/train.v2") == ("train.v2", "exp/train.v2")


def test_a_model_is_found_by_its_name():
    models = [model(name="a"), model(name="b")]
    assert find_model(models, "b") is models[1]
    assert find_model(models, None) is models[0]
    with pytest.raises(KeyError, match="'c' does not exist.*a, b"):
        find_model(models, "c")
    assert load_models([], None) == []


@pytest.mark.parametrize(
    "limit, message",
    [
        ({"sessions": 0}, "--max-sessions must be above 0, got 0"),
        ({"idle": math.nan}, "--max-idle must be above 0, got nan"),
        ({"backlog": 1e-5}, "--max-backlog 1e-05 is less than one sample; it is in"),
        ({"seconds": 1e-5}, "--max-seconds 1e-05 is less than one sample; it is in"),
    ],
)
def test_a_limit_of_nothing_is_refused(limit, message):
    with pytest.raises(ValueError, match=message):
        Limits(**limit)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--port", "65536", "'65536' is not from 0 to 65535"),
        ("--port", "web", "'web' is not from 0 to 65535"),
        ("--threads", "0", "'0' is not a number of at least 1"),
    ],
)
def test_numbers_that_nobody_can_use_are_refused_before_a_model_is_loaded(
    option, value, said, capsys
):
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--model", "exp/none", option, value])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_host_without_an_address_is_named(monkeypatch):
    def no_address(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    with pytest.raises(ValueError, match="--host nowhere: Name or service not known"):
        asyncio.run(command.serve(Server([model()]), "nowhere", 0))


@pytest.mark.parametrize("package", command.NEEDED)
def test_without_a_package_the_extra_to_install_is_told(package, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["serve", "--model", "exp/none"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    name = package.replace("_", "-")
    assert line.endswith(f"needs {name}: pip install 'espnet_smoe[serve]'")
