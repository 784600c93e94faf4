"""A Hugging Face hub on this machine, for its real client: the few addresses that downloads and uploads need."""

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import huggingface_hub.constants


class FakeHub:
    """Repositories by name: their commits, oldest first, each a mapping of paths to bytes."""

    def __init__(self):
        self.commits, self.requests = {}, []

    def commit(self, name, files):
        history = self.commits.setdefault(name, [])
        history.append(files)
        return self.sha(name, len(history) - 1)

    def sha(self, name, index):
        return hashlib.sha1(f"{name} {index}".encode()).hexdigest()

    def at(self, name, revision):
        """Commit and files of a revision, ``main`` or a commit."""
        shas = [self.sha(name, index) for index in range(len(self.commits[name]))]
        index = len(shas) - 1 if revision == "main" else shas.index(revision)
        return shas[index], self.commits[name][index]

    def answer(self, method, path, body):
        """Status, headers and body for a request."""
        self.requests.append((method, path))
        if path.startswith("/api/validate-yaml"):
            return 200, {}, {"errors": [], "warnings": []}
        if path.startswith("/api/repos/create"):
            sent = json.loads(body)
            name = f"{sent['organization']}/{sent['name']}" if sent.get("organization") else sent["name"]
            self.commits.setdefault(name, [{}])
            return 200, {}, {"url": f"/{name}", "id": name}
        if path.startswith("/api/models/"):
            owner, name, what, revision, *_ = path.partition("?")[0].removeprefix("/api/models/").split("/")
            return self._api(f"{owner}/{name}", what, revision, body)
        owner, name, _, revision, file = path.lstrip("/").split("/", 4)
        sha, files = self.at(f"{owner}/{name}", revision)
        return 200, {"ETag": f'"{hashlib.sha256(files[file]).hexdigest()}"', "X-Repo-Commit": sha}, files[file]

    def _api(self, name, what, revision, body):
        sha, files = self.at(name, revision)
        if what == "revision":
            return 200, {}, {"id": name, "sha": sha, "siblings": [{"rfilename": path} for path in files]}
        if what == "tree":
            entries = ({"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in files.items())
            return 200, {}, list(entries)
        if what == "preupload":
            sent = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in sent]
            return 200, {}, {"files": modes, "commitOid": sha}
        assert what == "commit"
        lines = [json.loads(line) for line in body.splitlines()]
        new = {x["value"]["path"]: base64.b64decode(x["value"]["content"]) for x in lines if x["key"] == "file"}
        gone = {x["value"]["path"] for x in lines if x["key"] == "deletedFile"}
        sha = self.commit(name, {path: content for path, content in {**files, **new}.items() if path not in gone})
        return 200, {}, {"commitUrl": f"/{name}/commit/{sha}", "commitOid": sha, "pullRequestUrl": None}


def use_hub(monkeypatch, url, cache):
    """Let huggingface_hub take a hub for the real one, with a cache of its own."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@contextmanager
def hub_server():
    """Serve a hub; yields it and its address."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, headers, content = hub.answer(self.command, self.path, body)
            except (KeyError, ValueError):
                status, headers, content = 404, {"X-Error-Code": "RepoNotFound"}, {}
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = handle_any

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
