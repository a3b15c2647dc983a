"""A small OpenAI-compatible endpoint on this machine's loopback, so that judging is tested through the real client."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Say = Callable[[str, str], Any]
"""From the two answers shown (first, second) to what the judge says; a (status, body) pair is sent as it is: an object as
JSON, text as a page, bytes as JSON that may be none."""


@dataclass
class Endpoint:
    """A running endpoint: its address, what it was sent, the models it lists, and what it refuses before it answers."""

    say: Say
    url: str = ""
    models: list[str] = field(default_factory=lambda: ["referee"])
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    refuse: Callable[[dict[str, Any]], tuple[int, Any] | None] = lambda body: None


def shown(body: dict[str, Any]) -> tuple[str, str]:
    """The two answers in a judge's request, read between their marks."""
    text = body["messages"][-1]["content"]
    mark = text.split(">")[0].removeprefix("<conversation ")
    parts = [re.search(f"<answer-{name} {mark}>\n(.*)\n</answer-{name} {mark}>", text, re.DOTALL) for name in "AB"]
    assert parts[0] and parts[1]
    return parts[0][1], parts[1][1]


@contextmanager
def running(say: Say) -> Iterator[Endpoint]:
    """An endpoint that answers by `say` while the block runs."""
    endpoint = Endpoint(say)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listed = [{"id": name, "object": "model", "created": 0, "owned_by": "tests"} for name in endpoint.models]
            self.reply(200, {"object": "list", "data": listed} if self.path == "/v1/models" else "<html>not here</html>")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            endpoint.requests.append(body)
            endpoint.keys.append(self.headers["Authorization"])
            said = endpoint.refuse(body) or endpoint.say(*shown(body))
            if isinstance(said, tuple):
                self.reply(*said)
                return
            message = {"role": "assistant", "content": said}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.reply(200, {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]})

        def reply(self, status: int, body: Any) -> None:
            data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            """Tests read what was sent from `requests`; standard error stays quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
