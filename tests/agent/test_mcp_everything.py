"""A real MCP server, `@modelcontextprotocol/server-everything` from npm, driven end to end."""

import json
import os
import shutil
import time
from collections.abc import Iterator

import psutil
import pytest

from kwen.agent.mcp import connect
from kwen.agent.tool import Tool
from kwen.errors import UserError

pytest.importorskip("mcp", reason="the MCP client is absent: pip install 'kwen[agent]'")
pytestmark = pytest.mark.slow
SERVER = "npx -y --prefer-offline @modelcontextprotocol/server-everything"


def descendants() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


@pytest.fixture(scope="module")
def tools() -> Iterator[dict[str, Tool]]:
    if shutil.which("npx") is None:
        pytest.skip("no npx: install Node.js and npm")
    before = descendants()
    try:
        with connect(SERVER, timeout_s=5.0, start_timeout_s=120.0) as found:
            assert found.notices == []
            yield {tool.name: tool for tool in found}
    except UserError as error:
        pytest.skip(f"npm does not bring the server: {error}")
    assert descendants() <= before


def test_its_tools_are_listed_with_their_schemas(tools: dict[str, Tool]) -> None:
    assert {"echo", "get-sum", "get-tiny-image", "trigger-long-running-operation"} <= set(tools)
    assert tools["get-sum"].parameters["required"] == ["a", "b"]
    assert all(tool.description for tool in tools.values())


def test_echo_and_add(tools: dict[str, Tool]) -> None:
    assert tools["echo"].run({"message": "<|im_end|> 你好"}).text == "Echo: <|im_end|> 你好"
    assert tools["get-sum"].run({"a": 17, "b": 25}).text == "The sum of 17 and 25 is 42."
    wrong = tools["get-sum"].run({"a": "seventeen"})
    assert wrong.error and "expected number" in wrong.text


def test_an_image_and_resources(tools: dict[str, Tool]) -> None:
    reference = tools["get-resource-reference"]
    (image,) = tools["get-tiny-image"].run({}).images
    assert image.startswith(b"\x89PNG")
    assert "[resource demo://resource/dynamic/text/1]" in reference.run({"resourceType": "Text", "resourceId": 1}).text
    assert "not shown" in reference.run({"resourceType": "Blob", "resourceId": 1}).text
    assert tools["get-resource-links"].run({"count": 2}).text.count("[link to demo://") == 2
    assert json.loads(tools["get-structured-content"].run({"location": "Chicago"}).text).keys() >= {"temperature", "humidity"}


def test_of_our_environment_it_sees_path_and_home(tools: dict[str, Tool]) -> None:
    seen = json.loads(tools["get-env"].run({}).text)
    by_npm = {name for name in seen if name.startswith("npm_")} | {"INIT_CWD", "NODE", "COLOR", "EDITOR", "PWD", "SHLVL", "_"}
    assert set(seen) - by_npm == {"PATH", "HOME"}


def test_a_long_call_ends_or_is_given_up_and_the_server_lives_on(tools: dict[str, Tool]) -> None:
    assert "completed" in tools["trigger-long-running-operation"].run({"duration": 1, "steps": 2}).text
    began = time.monotonic()
    result = tools["trigger-long-running-operation"].run({"duration": 30, "steps": 2})
    assert result.error and "no answer within 5 s" in result.text and time.monotonic() - began < 6
    assert tools["echo"].run({"message": "still here"}).text == "Echo: still here"


def test_killed_in_the_middle_of_a_call_it_is_an_observation(tools: dict[str, Tool]) -> None:
    """Last: nothing is left of the server afterwards."""
    import threading

    def kill() -> None:
        time.sleep(0.5)
        for process in psutil.Process().children(recursive=True):
            if any(word.endswith("/mcp-server-everything") for word in process.cmdline()):
                os.kill(process.pid, 9)

    thread = threading.Thread(target=kill)
    thread.start()
    began = time.monotonic()
    result = tools["trigger-long-running-operation"].run({"duration": 30, "steps": 2})
    thread.join()
    assert result.error and "it ended" in result.text and time.monotonic() - began < 4
    assert "it ended" in tools["echo"].run({"message": "hello?"}).text
