"""Downloads over connections that break, servers that lie, and secrets in URLs."""

import hashlib
import http.server
import threading

import pytest

from stnuclei import fetch as fetching
from stnuclei.errors import UserError
from stnuclei.fetch import fetch, hub_url, without_secrets

CONTENT = bytes(range(256)) * 4000


class Server:
    """Serves `CONTENT`, breaking off each answer after `most` bytes; keeps the Range headers it was asked for."""

    def __init__(self, most=None, ranges=True, tag='"one"', status=200):
        self.asked = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                begin = self.headers.get("Range", "")
                outer.asked.append(begin)
                start = int(begin[6:-1]) if begin and ranges and self.headers.get("If-Range") == tag else 0
                if status != 200:
                    self.send_error(status)
                    return
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(CONTENT) - start))
                if tag:
                    self.send_header("ETag", tag)
                self.end_headers()
                self.wfile.write(CONTENT[start:][:most])

            def do_HEAD(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()

            def log_message(self, *words):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/w.pth"


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    servers = []

    def start(**options):
        servers.append(Server(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.server.shutdown()
        server.server.server_close()


def test_a_download_that_breaks_off_is_resumed(serve, tmp_path, capsys):
    server = serve(most=300_000)
    known = hashlib.sha256(CONTENT).hexdigest()
    assert fetch(f"{server.url}#sha256={known}", tmp_path / "w.pth") == known
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert server.asked == ["", "bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert "not checked" not in capsys.readouterr().out


def test_a_torso_is_never_taken_for_the_file(serve, tmp_path):
    # Neither ranges nor a version: each try begins anew and breaks off at the same byte.
    server = serve(most=300_000, ranges=False, tag="")
    with pytest.raises(UserError, match=r"w\.pth: cannot be fetched \(broke off after 300,000 of 1,024,000 bytes\)"):
        fetch(server.url, tmp_path / "w.pth")
    assert list(tmp_path.iterdir()) == [] and len(server.asked) == fetching.TRIES + 1


def test_without_a_checksum_a_warning_names_the_one_to_give(serve, tmp_path, capsys):
    known = fetch(serve().url, tmp_path / "w.pth")
    assert f"append #sha256={known} to have it checked" in capsys.readouterr().out


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (503, 3)])
def test_refusals_are_told_and_only_passing_ones_tried_again(serve, tmp_path, status, tries):
    server = serve(status=status)
    with pytest.raises(UserError, match=f"cannot be fetched .*{status}"):
        fetch(server.url, tmp_path / "w.pth")
    assert len(server.asked) == tries


def test_a_server_that_says_nothing_does_not_hang(tmp_path, monkeypatch):
    import socket

    monkeypatch.setattr(fetching, "TIMEOUT", 0.2)
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UserError, match="timed out"):
        fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/w.pth", tmp_path / "w.pth")


class Hub:
    """A hub that wants a token and sends on to another host, which must not see it; keeps what each was asked."""

    def __init__(self, checksum=None):
        self.asked = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                there = self.server is not outer.servers[0]
                outer.asked.append((there, self.path, self.headers.get("Authorization")))
                if there:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(CONTENT)))
                    self.end_headers()
                    self.wfile.write(CONTENT)
                elif self.headers.get("Authorization") != "Bearer secret":
                    self.send_error(401)
                else:  # first on the same host, as the hub does with some files, then to the store of large files
                    near = self.path.startswith("/owner")
                    self.send_response(302)
                    other = f"http://127.0.0.1:{outer.servers[1].server_port}/blob"
                    self.send_header("Location", "/cache" + self.path if near else other)
                    if checksum:
                        self.send_header("X-Linked-ETag", f'"{checksum}"')
                    self.end_headers()

            def log_message(self, *words):
                pass

        self.servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.servers[0].server_port}"


@pytest.fixture
def hub(monkeypatch):
    hubs = []

    def start(checksum=None, token="secret"):
        hubs.append(Hub(checksum))
        monkeypatch.setenv("HF_ENDPOINT", hubs[-1].endpoint)
        monkeypatch.setenv("HF_TOKEN", token)
        return hubs[-1]

    yield start
    for one in hubs:
        for server in one.servers:
            server.shutdown()
            server.server_close()


def test_the_hub_gets_the_token_and_no_other_host_does(hub, tmp_path, capsys):
    known = hashlib.sha256(CONTENT).hexdigest()
    server = hub(checksum=known)
    assert fetch(hub_url("owner/uni", "a b.bin"), tmp_path / "w") == known
    path = "/owner/uni/resolve/main/a%20b.bin"
    assert server.asked == [
        (False, path, "Bearer secret"), (False, f"/cache{path}", "Bearer secret"), (True, "/blob", None)
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert "checked against its server's word alone" in out and "secret" not in out


def test_a_file_that_is_not_the_one_the_hub_states_is_refused(hub, tmp_path):
    hub(checksum="0" * 64)
    with pytest.raises(UserError, match="not the one its server states"):
        fetch(hub_url("owner/uni", "w.bin"), tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_a_gated_file_says_where_its_terms_are_accepted(hub, tmp_path):
    server = hub(token="")
    with pytest.raises(UserError, match=rf"accept the terms on {server.endpoint}/owner/uni and set HF_TOKEN"):
        fetch(hub_url("owner/uni", "w.bin"), tmp_path / "w")


def test_other_schemes_are_refused(tmp_path):
    with pytest.raises(UserError, match="fetched by http, https, file only"):
        fetch("ftp://example.org/w.pth", tmp_path / "w.pth")


def test_secrets_stay_out_of_messages(serve, tmp_path, capsys):
    assert without_secrets("https://me:pw@host/a.pth?token=t#sha256=00") == "https://host/a.pth?...#sha256=00"
    server = serve(status=403)
    with pytest.raises(UserError) as caught:
        fetch(f"{server.url}?token=hidden", tmp_path / "w.pth")
    assert "hidden" not in str(caught.value) + capsys.readouterr().out


def test_the_length_is_asked_for_without_the_file(serve, tmp_path):
    server = serve()
    (tmp_path / "w.pth").write_bytes(CONTENT)
    assert fetching.content_length(server.url) == len(CONTENT) and server.asked == []
    assert fetching.content_length(f"{(tmp_path / 'w.pth').as_uri()}#sha256=x") == len(CONTENT)
    assert fetching.content_length("http://127.0.0.1:9/none") is None
