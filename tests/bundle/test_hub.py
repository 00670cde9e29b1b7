"""Push and pull, against a server on this machine that speaks as the hub does."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote, urlparse

import pytest
import yaml

pytest.importorskip("huggingface_hub")
from medjax.bundle import archive
from tests.conftest import ROOT

COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """The few calls that the client makes; repositories are dicts of bytes."""

    repositories: ClassVar[dict[str, dict[str, bytes]]] = {}

    def log_message(self, *_):
        pass

    def answer(self, value, status=200, **headers):
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {
            "Content-Length": str(len(content)),
            "X-Repo-Commit": COMMIT,
            **headers,
        }.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = b""
            while size := int(self.rfile.readline(), 16):
                parts += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return parts
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        path, content = urlparse(self.path).path, self.body()
        if path == "/api/repos/create":
            name = json.loads(content)["name"]
            self.repositories.setdefault(f"someone/{name}", {})
            return self.answer({"url": f"http://{self.headers['Host']}/someone/{name}"})
        if path == "/api/validate-yaml":
            head = yaml.safe_load(json.loads(content)["content"].split("---")[1])
            wrong = [] if head["library_name"] == "medjax" else [{"message": "no library"}]
            return self.answer({"errors": wrong, "warnings": []})
        if path.endswith("/preupload/main"):
            return self.answer(
                {
                    "files": [
                        {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                        for f in json.loads(content)["files"]
                    ]
                }
            )
        if "/commit/" in path:
            repository = path.removeprefix("/api/models/").split("/commit/")[0]
            for line in content.splitlines():
                entry = json.loads(line)
                if entry["key"] == "deletedFile":
                    del self.repositories[repository][entry["value"]["path"]]
                if entry["key"] == "file":
                    self.repositories[repository][entry["value"]["path"]] = base64.b64decode(
                        entry["value"]["content"]
                    )
            return self.answer(
                {
                    "success": True,
                    "commitOid": COMMIT,
                    "commitUrl": f"http://{self.headers['Host']}/{repository}/commit/{COMMIT}",
                }
            )
        return self.answer({"error": f"no POST {path}"}, 404)

    def do_GET(self):
        path = unquote(urlparse(self.path).path)
        if path.startswith("/api/models/"):
            name = path.removeprefix("/api/models/").split("/tree/")[0]
            files = self.repositories.get(name)
            if files is None:
                return self.answer(
                    {"error": "Repository Not Found"}, 404, X_Error_Code="RepoNotFound"
                )
            if "/tree/" not in path:
                return self.answer(
                    {
                        "_id": "1",
                        "id": name,
                        "modelId": name,
                        "sha": COMMIT,
                        "private": False,
                        "tags": [],
                        "downloads": 0,
                        "likes": 0,
                        "siblings": [],
                    }
                )
            assert path.endswith(f"/tree/{COMMIT}"), "not pinned"
            # The sizes are a lie: what comes is what counts.
            return self.answer(
                [
                    {"type": "file", "path": n, "size": 1, "oid": COMMIT}
                    for n, c in {".gitattributes": b"", **files}.items()
                ]
            )
        name, _, rest = path.strip("/").partition("/resolve/")
        content = self.repositories.get(name, {}).get(rest.partition("/")[2])
        if content is None:
            return self.answer({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound")
        assert rest.startswith(COMMIT), "not pinned"
        return self.answer(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"')

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(Hub, "repositories", {})
    made = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()


def share(server, tmp_path, *arguments):
    """`experiments.share` as a user starts it."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.share", *map(str, arguments)],
        cwd=ROOT,
        text=True,
        env={**os.environ, "HF_ENDPOINT": server, "HF_TOKEN": "hf_x", "HF_HOME": str(tmp_path)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_what_is_pushed_is_pulled(server, classifier, tmp_path):
    archive.write_zip(tmp_path / "b.zip", classifier.files)
    code, out, told = share(server, tmp_path, "push", tmp_path / "b.zip", "someone/tiny")
    assert (code, "pushed to " in out, "someone/tiny" in out) == (0, True, True), told
    assert Hub.repositories["someone/tiny"] == classifier.files
    code, out, _ = share(server, tmp_path, "pull", "someone/tiny", tmp_path / "copy")
    assert code == 0 and f"wrote {tmp_path}/copy" in out
    assert archive.read(tmp_path / "copy") == classifier.files


def test_what_was_changed_there_is_found_and_not_written(server, classifier, tmp_path):
    there = dict(classifier.files)
    Hub.repositories["someone/tiny"] = there
    there["README.md"] = there["README.md"].replace(b"medjax", b"MEDJAX")
    code, _, told = share(server, tmp_path, "pull", "someone/tiny", tmp_path / "copy")
    assert code == 2 and "README.md: damaged" in told
    code, _, told = share(
        server, tmp_path, "pull", "someone/tiny", tmp_path / "copy", "--limit_gb=1e-6"
    )
    assert code == 2 and "larger than --limit_gb" in told
    there["../evil"] = b"x"
    code, _, told = share(server, tmp_path, "pull", "someone/tiny", tmp_path / "copy")
    assert code == 2 and "is no name of a file" in told
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("repository", "words"),
    [("someone/else", "someone/else: the hub says:"), ("someone/other", "no manifest.json in it")],
)
def test_what_is_not_there_is_told_in_one_line(server, tmp_path, repository, words):
    Hub.repositories["someone/other"] = {"model.bin": b"x"}
    code, _, told = share(server, tmp_path, "pull", repository, tmp_path / "copy")
    assert code == 2 and words in told and told.count("\n") == 1


def test_a_file_of_weights_is_fetched_once_and_pinned(server, tmp_path):
    """By the call that `--init_from=hub:...` makes, in a process that knows of the server."""
    Hub.repositories["someone/net"] = {"deep/model.safetensors": b"numbers"}
    code = (
        "from medjax.bundle import hub\n"
        "path, revision = hub.fetch_file('someone/net', 'deep/model.safetensors')\n"
        "print(path.read_bytes() == b'numbers', revision)\n"
        "try:\n    hub.fetch_file('someone/net', 'other.pth')\n"
        "except hub.UserError as e:\n    print(e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        text=True,
        env={**os.environ, "HF_ENDPOINT": server, "HF_HOME": str(tmp_path)},
        capture_output=True,
        timeout=120,
        check=True,
    )
    first, second = done.stdout.splitlines()
    assert first == f"True {COMMIT}"
    assert second.startswith("someone/net: the hub says: ")


@pytest.mark.slow
def test_a_hub_that_names_no_revision_is_refused(server, classifier, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.bundle.test_hub.COMMIT", "main")
    Hub.repositories["someone/x"] = dict(classifier.files)
    code, _, told = share(server, tmp_path, "pull", "someone/x", tmp_path / "b")
    assert code == 2
    assert "the hub names no revision" in told
    assert not (tmp_path / "b").exists()


def test_a_server_that_is_away_is_told(tmp_path):
    code, _, told = share("http://127.0.0.1:9", tmp_path, "pull", "someone/tiny", tmp_path / "copy")
    assert code == 2 and "the hub says:" in told


def test_what_was_there_before_is_gone_after_a_push(server, classifier, tmp_path):
    Hub.repositories["someone/tiny"] = {"manifest.sig": b"old", ".gitattributes": b"x"}
    archive.write_zip(tmp_path / "b.zip", classifier.files)
    code, _, told = share(server, tmp_path, "push", tmp_path / "b.zip", "someone/tiny")
    assert code == 0, told
    there = Hub.repositories["someone/tiny"]
    assert there == {**classifier.files, ".gitattributes": b"x"}
