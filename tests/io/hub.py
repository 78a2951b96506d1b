"""A stand-in of the Hugging Face hub: the few addresses that a dataset's download uses, over a local folder."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What the stand-in holds and does.

    `folder`: files by their path in the dataset. `token`: asked for where set. `cut`: path -> bytes after which the
    connection breaks, once. `spoil`: paths that arrive damaged that many times. `log`: requests as they came.
    """

    def __init__(self, folder):
        self.folder, self.token, self.cut, self.spoil, self.log = Path(folder), None, {}, {}, []
        self.ranges = []


def large(name):
    """The hub keeps tables and images in its large file store."""
    return not name.endswith(".json")


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def refused(self):
            hub.log.append((self.command, self.path))
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                self.answer(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
                return True
            return False

        def answer(self, status, body, headers=()):
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **dict(headers)}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_POST(self):
            length = int(self.headers.get("Content-Length", 0))
            raw = self.rfile.read(length)
            if self.refused():
                return
            paths = json.loads(raw)["paths"] if raw[:1] == b"{" else _form(raw)
            rows = []
            for name in paths:
                path = hub.folder / name
                if path.is_file():
                    content = path.read_bytes()
                    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                    row = {"type": "file", "path": name, "size": len(content), "oid": blob}
                    if large(name):
                        sha = hashlib.sha256(content).hexdigest()
                        row["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 130}
                    rows.append(row)
            self.answer(200, json.dumps(rows).encode(), {"Content-Type": "application/json"})

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            if self.refused():
                return
            name = unquote(self.path.split("/resolve/")[-1].split("/", 1)[-1].split("?")[0])
            path = hub.folder / name
            if not path.is_file():
                self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
                return
            content = path.read_bytes()
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            if self.command == "HEAD":
                self.send_response(200)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                return
            self.send_content(name, content, headers)

        def send_content(self, name, content, headers):
            if hub.spoil.get(name, 0) > 0:
                hub.spoil[name] -= 1
                content = bytes(255 - value for value in content)
            start, status = 0, 200
            if wanted := self.headers.get("Range"):
                hub.ranges.append((name, wanted))
                start, status = int(wanted.removeprefix("bytes=").split("-")[0]), 206
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            body = content[start:]
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if name in hub.cut:
                self.wfile.write(body[: hub.cut.pop(name)])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(body)

    return Handler


def _form(raw):
    from urllib.parse import parse_qs

    return parse_qs(raw.decode())["paths"]


@contextmanager
def running(folder):
    """Serve `folder` as a dataset; gives the stand-in and its address."""
    hub = Hub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
