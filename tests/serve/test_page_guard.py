"""The page from outside a browser: what can be reached, and by whom."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from page_serving import Scripted, Served, page

import kwen
from kwen.errors import UserError
from kwen.serve.page_guard import is_page_path

pytest.importorskip("gradio", reason="the page needs gradio: pip install 'kwen[page]'")
JOIN, DATA = "/gradio_api/queue/join", "/gradio_api/queue/data"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with page([Served("tiny", Scripted({"hello": ["Hi you"]}))], tools=["calculator"]) as address:
        yield address


@pytest.fixture
def visitor(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=10) as client:
        assert client.get("/").status_code == 200
        yield client


def submit(client: httpx.Client, session: str, function: str, data: list[object], **more: object) -> httpx.Response:
    """Press a button of the page's, by the name of the function behind it."""
    config = client.get("/config").json()
    number = next(part["id"] for part in config["dependencies"] if part["api_name"] == function)
    body = {"fn_index": number, "data": data, "session_hash": session, **more}
    return client.post(JOIN, json=body)


def events(client: httpx.Client, session: str) -> list[dict[str, object]]:
    """What a session is told until it is closed."""
    with client.stream("GET", DATA, params={"session_hash": session}) as answer:
        assert answer.status_code == 200
        return [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: ")]


CONTROLS = ["tiny", "", "", [], 0, 1, 0, 32, 1, ""]


def test_a_question_is_answered(visitor: httpx.Client) -> None:
    assert submit(visitor, "session1", "_send", [None, "hello", *CONTROLS]).status_code == 200
    told = events(visitor, "session1")
    assert "Hi you" in json.dumps(told)  # one piece, which no update cuts in two
    assert told[-1]["msg"] == "close_stream"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/file=/etc/passwd", "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/proxy=http://127.0.0.1:1/", "/gradio_api/deep_link", "/gradio_api/runs", "/monitoring", "/user", "/token",
        "/gradio_api/stream/a/b/c/playlist.m3u8", "/custom_component/x/client/component/index.js", "/svelte/x.js",
        "/gradio_api/mcp/", "/gradio_api/vibe-code/", "/pwa_icon", "/gradio_api/upload_progress",
        "/gradio_api/custom_component/x/y/z/w",
    ],
)  # fmt: skip
def test_of_gradios_own_paths_only_the_pages_can_be_read(visitor: httpx.Client, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload", "/gradio_api/run/_send", "/gradio_api/api/_send", "/gradio_api/call/_send",
        "/gradio_api/component_server",
        "/gradio_api/reset", "/gradio_api/cancel", "/gradio_api/process_recording", "/gradio_api/vibe-edit/", "/login",
        "/gradio_api/stream/x",
    ],
)  # fmt: skip
def test_nothing_can_be_written_but_the_pages_own_events(visitor: httpx.Client, path: str) -> None:
    assert visitor.post(path, json={}).status_code in (404, 405)


@pytest.mark.parametrize("folder", ["/static/", "/assets/"])
@pytest.mark.parametrize("way", ["..%2f" * 12, "%2e%2e/" * 12, "....//" * 12, "..%5c" * 12, "%2f", ""])
def test_no_file_of_the_host_is_reached_through_a_folder(url: str, folder: str, way: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("not for the page")
    for target in (str(secret).lstrip("/"), str(secret)):
        raw = httpx.Request("GET", url)
        raw.url = raw.url.copy_with(raw_path=(folder + way + target).encode())
        with httpx.Client() as client:
            answer = client.send(raw)
        assert answer.status_code in (403, 404)
        assert "not for the page" not in answer.text


def test_other_paths_stay_the_servers(visitor: httpx.Client) -> None:
    assert visitor.get("/v1/models").json() == ["tiny"]
    assert visitor.post("/v1/models").status_code == 405
    assert visitor.get("/v1/nothing").json() == {"detail": "Not Found"}
    assert is_page_path("GET", "/") and not is_page_path("POST", "/") and not is_page_path("GET", "/v1/models")


def test_nobody_reads_or_uses_another_visitors_session(url: str, visitor: httpx.Client) -> None:
    assert submit(visitor, "mine", "_send", [None, "a secret", *CONTROLS]).status_code == 200
    with httpx.Client(base_url=url, timeout=10) as other:
        other.get("/")
        assert other.get(DATA, params={"session_hash": "mine"}).status_code == 403
        assert other.get("/gradio_api/heartbeat/mine").status_code == 403
        assert submit(other, "mine", "_stop", [None]).status_code == 403
    with httpx.Client(base_url=url, timeout=10) as nobody:
        assert nobody.get(DATA, params={"session_hash": "mine"}).status_code == 403
        assert nobody.post(JOIN, json={"fn_index": 0, "data": [], "session_hash": "new"}).status_code == 403
    assert "a secret" in json.dumps(events(visitor, "mine"))


def test_pages_of_other_sites_press_nothing(visitor: httpx.Client) -> None:
    for header in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert visitor.post(JOIN, json={"fn_index": 0, "data": [], "session_hash": "s"}, headers=header).status_code == 403


def test_headers_let_nothing_in_from_elsewhere(url: str) -> None:
    answer = httpx.get(url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "img-src 'self' data: blob:" in policy and "frame-ancestors 'none'" in policy
    assert "http:" not in policy and "https:" not in policy and "*" not in policy
    assert answer.headers["cache-control"] == "no-store"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert len({httpx.get(url).cookies["kwen_visitor"] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    "value",
    ["text", 7, [1], {"id": "x"}, {"sides": 3}, {"sides": [{"model": "a", "messages": [{"role": "user", "content": {"a": 1}}]}]}],
)
def test_a_conversation_that_is_none_is_one_line_on_the_page(visitor: httpx.Client, value: object) -> None:
    session = f"broken {value}"
    assert submit(visitor, session, "_send", [value, "hello", *CONTROLS]).status_code == 200
    told = events(visitor, session)
    assert [event["success"] for event in told if event["msg"] == "process_completed"] == [True]
    assert "this conversation" in json.dumps(told)


@pytest.mark.parametrize("position", range(len(CONTROLS)))
@pytest.mark.parametrize("wrong", [{"a": 1}, "x" * 1000, -1, [[]], None])
def test_wrong_settings_never_break_the_page(visitor: httpx.Client, position: int, wrong: object) -> None:
    controls = list(CONTROLS)
    controls[position] = wrong
    session = f"wrong{position}{wrong!r:.9}"
    answer = submit(visitor, session, "_send", [None, "hello", *controls])
    if answer.status_code == 200:
        assert events(visitor, session)[-1]["msg"] == "close_stream"
    else:
        assert answer.status_code == 422
    assert visitor.get("/").status_code == 200


def test_a_body_that_is_too_large_or_no_json_is_refused(visitor: httpx.Client) -> None:
    assert visitor.post(JOIN, content=b"x" * (17 << 20)).status_code == 413
    assert visitor.post(JOIN, content=b"{").status_code == 403
    assert visitor.post(JOIN, content=b"[" * 100_000).status_code == 403


def test_nothing_of_the_host_is_told(visitor: httpx.Client) -> None:
    told = visitor.get("/").text + visitor.get("/config").text + visitor.get("/theme.css").text
    assert "gradio-app" in told
    for secret in (str(Path(kwen.__file__).parent), str(Path.home()) + "/", sys.prefix):
        assert secret not in told


@pytest.mark.slow
def test_the_server_asks_nobody_elsewhere() -> None:
    script = """
import sys, time
asked = []
calls = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
sys.addaudithook(lambda event, given: asked.append(str(given)) if event in calls else None)
import httpx
from page_serving import Scripted, Served, page
with page([Served("tiny", Scripted({}))], tools=["calculator"]) as url:
    httpx.get(url).raise_for_status()
    time.sleep(3)
assert asked
print([place for place in asked if "127.0.0.1" not in place])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment)
    assert done.stdout.strip() == "[]", done.stderr


def test_an_unknown_tool_is_told_to_the_operator() -> None:
    with pytest.raises(UserError, match="tool 'shell' is unknown"), page([Served("tiny", Scripted({}))], tools=["shell"]):
        pass
