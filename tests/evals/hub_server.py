"""A hub on loopback: the listing, the tree and the files of data sets, in the wire form that huggingface_hub asks for.

    GET  /api/datasets/ID/revision/REVISION?blobs=True    commit, and size, blob id and LFS hash of each file
    GET  /api/datasets/ID/tree/COMMIT?recursive=True      the same as a list
    HEAD, GET  /datasets/ID/resolve/COMMIT/PATH           a file; one kept by LFS is a redirect to another host

Mistakes are answered with the hub's own X-Error-Code. `wrong` makes it misbehave.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

REFUSED = {"repository": (401, {"X-Error-Code": "RepoNotFound"}), "file": (404, {"X-Error-Code": "EntryNotFound"}),
           "revision": (404, {"X-Error-Code": "RevisionNotFound"}), "down": (503, {}), "other": (404, {})}  # fmt: skip


@dataclass
class Hub:
    """Data sets by repository: (commit, path -> content). `asked` lists what was asked for: method and path. `store` is where
    files of LFS are; who asks for a repository by a name of `renamed` is sent to its new one."""

    address: str = ""
    store: str = ""
    repositories: dict[str, tuple[str, Mapping[str, bytes]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    wrong: str = ""

    def files(self) -> list[str]:
        """The paths of the files that were asked for, sorted."""
        return sorted(
            line.partition("/resolve/")[2].partition("/")[2] for line in self.asked if line.startswith("HEAD /datasets/")
        )

    def listed(self, content: bytes, path: str) -> dict[str, Any]:
        size = len(content) << (20 if self.wrong == "large" else 0)
        facts: dict[str, Any] = {"size": size, "oid": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
        if _by_lfs(path):
            sha256 = hashlib.sha256(b"other" if self.wrong == "hash" else content).hexdigest()
            facts["lfs"] = {"sha256": sha256, "oid": sha256, "size": size, "pointerSize": 130}
        return facts


def _by_lfs(path: str) -> bool:
    return path.endswith((".parquet", ".zip"))


@contextmanager
def serving() -> Iterator[Hub]:
    """An empty hub that listens on a free port of loopback."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
            if old := next((name for name in hub.renamed if f"/{name}/" in self.path), ""):
                self._answer(307, b"", {"Location": self.path.replace(old, hub.renamed[old])})
            elif parts[0] == "cdn":
                contents = (content for _, files in hub.repositories.values() for content in files.values())
                self._file(next(content for content in contents if hashlib.sha256(content).hexdigest() == parts[1]))
            elif parts[:2] == ["api", "datasets"] and len(parts) > 5:
                self._listing("/".join(parts[2:4]), parts[4], parts[5])
            elif parts[0] == "datasets" and len(parts) > 5:
                self._resolve("/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
            else:
                self._refuse("other")

        do_HEAD = do_GET

        def _listing(self, repository: str, kind: str, revision: str) -> None:
            if hub.wrong == "page":
                self._answer(200, b"<html>Welcome to the portal</html>", {"Content-Type": "text/html"})
                return
            if repository not in hub.repositories:
                self._refuse("repository")
                return
            commit, files = hub.repositories[repository]
            if revision not in (commit, "main"):
                self._refuse("revision")
                return
            rows: list[Any] = [hub.listed(content, path) | {"path": path, "type": "file"} for path, content in files.items()]
            answer: Any = rows
            if kind == "revision":
                siblings = [row | {"rfilename": row["path"], "blobId": row["oid"]} for row in rows]
                answer = {"id": repository, "sha": commit, "private": False, "siblings": siblings}
            self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def _resolve(self, repository: str, revision: str, path: str) -> None:
            commit, files = hub.repositories[repository]
            if path not in files or revision != commit:
                self._refuse("file")
                return
            content, sha256 = files[path], hashlib.sha256(files[path]).hexdigest()
            headers = {"X-Repo-Commit": commit, "ETag": f'"{hub.listed(content, path)["oid"]}"'}
            if _by_lfs(path):
                linked = {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{sha256}"'}
                self._answer(302, b"", headers | linked | {"Location": f"{hub.store}/cdn/{sha256}"})
            else:
                self._file(content, headers)

        def _file(self, content: bytes, headers: Mapping[str, str] = {}) -> None:  # noqa: B006 (never written to)
            if hub.wrong == "cut" and self.command == "GET":
                if hub.asked.count(f"GET {self.path}") > 1:
                    self._refuse("down")
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
                return
            self._answer(200, content, headers)

        def _refuse(self, why: str) -> None:
            status, headers = REFUSED[why]
            self._answer(status, b"", headers)

        def _answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: `asked` has it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address, hub.store = (f"http://{host}:{server.server_address[1]}" for host in ("127.0.0.1", "localhost"))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
