"""The Hugging Face Hub on this machine: as much of its protocol as tests need."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

TOKEN = "hf_test"
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(\w+)/(.+))?")


class Endpoint(ThreadingHTTPServer):
    """Repositories in memory.

    Attributes:
        files: By repository and branch, the content of every file.
        private: Repositories that only the token reads.
        asked: Method and path of every request.
        commits: Messages of the commits, with the names of their files.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.commits: list[tuple[str, list[str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, repo: str, name: str, content: bytes, branch: str = "main") -> None:
        self.files.setdefault(repo, {}).setdefault(branch, {})[name] = content


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_HEAD(self) -> None:
        self._resolve(with_body=False)

    def do_GET(self) -> None:
        api = _API.fullmatch(self.path)
        if api is None:
            return self._resolve(with_body=True)
        self.server.asked.append(("GET", self.path))
        if not self._may_read(api[1]):
            return self._refuse(404, "RepoNotFound")
        sha = hashlib.sha1(api[1].encode()).hexdigest()
        is_private = api[1] in self.server.private
        self._answer({"id": api[1], "sha": sha, "private": is_private, "siblings": []})

    def do_POST(self) -> None:
        self.server.asked.append(("POST", self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(403, "", "You may not write to this namespace")
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        found = _API.fullmatch(self.path)
        assert found is not None, self.path
        repo, action, branch = found[1], found[2], unquote(found[3])
        if action == "branch":
            self.server.files[repo].setdefault(branch, {})
            self._answer({})
        elif action == "preupload":
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            self._answer({"files": modes})
        else:
            self._commit(repo, branch, [json.loads(line) for line in body.splitlines()])

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def _create(self, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.server.url}/{repo}"}
        if repo in self.server.files:
            return self._answer(url, 409)
        self.server.files[repo] = {"main": {}}
        if asked.get("visibility") == "private" or asked.get("private"):
            self.server.private.add(repo)
        self._answer(url)

    def _commit(self, repo: str, branch: str, lines: list[dict[str, Any]]) -> None:
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        if branch not in self.server.files[repo]:
            return self._refuse(404, "RevisionNotFound")
        self.server.files[repo][branch] |= files
        (header,) = [line["value"] for line in lines if line["key"] == "header"]
        self.server.commits.append((header["summary"], sorted(files)))
        oid = hashlib.sha1(repr(files).encode()).hexdigest()
        url = f"{self.server.url}/{repo}/commit/{oid}"
        self._answer({"success": True, "commitOid": oid, "commitUrl": url})

    def _resolve(self, with_body: bool) -> None:
        found = _RESOLVE.fullmatch(self.path)
        if found is None:
            return self._refuse(404, "")
        self.server.asked.append((self.command, self.path))
        repo, branch, name = found[1], unquote(found[2]), unquote(found[3])
        if not self._may_read(repo):
            return self._refuse(404, "RepoNotFound")
        if branch not in self.server.files[repo]:
            return self._refuse(404, "RevisionNotFound")
        content = self.server.files[repo][branch].get(name)
        if content is None:
            return self._refuse(404, "EntryNotFound")
        self.send_response(200)
        self.send_header("X-Repo-Commit", hashlib.sha1(f"{repo}{branch}".encode()).hexdigest())
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def _may_read(self, repo: str) -> bool:
        has_token = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        return repo in self.server.files and (repo not in self.server.private or has_token)

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str = "") -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message or code)
        self.send_header("Content-Length", "0")
        self.end_headers()
