"""A local stand-in of the Hugging Face Hub: the few endpoints that gatito's use of the real client calls."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

TOKEN = "hf_test"


class Hub:
    """Repositories with all of their revisions.

    Attributes:
        revisions: for each repository, its revisions in order: an id and the files by name.
        calls: what was asked, as ``GET /api/models/a/b``.
    """

    def __init__(self):
        self.revisions, self.objects, self.calls = {}, {}, []
        self.address = ""

    def commit(self, name, files):
        """A new revision; returns its id."""
        revisions = self.revisions.setdefault(name, [])
        content = json.dumps({path: hashlib.sha256(data).hexdigest() for path, data in files.items()})
        revision = hashlib.sha1(f"{len(revisions)} {content}".encode()).hexdigest()
        revisions.append((revision, files))
        return revision

    def files(self, name, revision="main"):
        revisions = self.revisions[name]
        if revision == "main":
            return revisions[-1]
        return next(found for found in revisions if found[0] == revision)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self):
        return self.server.hub

    def log_message(self, *arguments):
        pass

    def answer(self, value=None, status=200, body=None, **headers):
        body = json.dumps(value).encode() if body is None else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, code):
        self.answer({"error": code}, 404, X_Error_Code=code)

    def handle_all(self):
        path = unquote(urlparse(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.calls.append(f"{self.command} {path}")
        for method, pattern, action in _ROUTES:
            if self.command in method and (found := re.fullmatch(pattern, path)):
                if (
                    "POST" in method
                    and "validate" not in path
                    and self.headers.get("Authorization") != f"Bearer {TOKEN}"
                ):
                    return self.answer({"error": "Invalid username or password."}, 401)
                return action(self, body, *found.groups())
        return self.answer({"error": f"the stand-in has no {self.command} {path}"}, 501)

    do_GET = do_HEAD = do_POST = do_PUT = handle_all  # noqa: N815

    def find(self, name, revision):
        if name not in self.hub.revisions:
            return self.missing("RepoNotFound")
        try:
            return self.hub.files(name, revision)
        except (StopIteration, IndexError):
            return self.missing("RevisionNotFound")

    def info(self, _, name, revision):
        if found := self.find(name, revision or "main"):
            self.answer({"id": name, "sha": found[0], "siblings": [{"rfilename": path} for path in found[1]]})

    def tree(self, _, name, revision):
        if found := self.find(name, revision):
            rows = [
                {"type": "file", "path": path, "size": len(data), "oid": "0" * 40} for path, data in found[1].items()
            ]
            self.answer(rows)

    def resolve(self, _, name, revision, path):
        if found := self.find(name, revision):
            if path not in found[1]:
                return self.missing("EntryNotFound")
            data = found[1][path]
            self.answer(body=data, X_Repo_Commit=found[0], ETag=f'"{hashlib.sha1(data).hexdigest()}"')

    def create(self, body):
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        if name in self.hub.revisions:
            return self.answer({"error": "exists", "url": f"{self.hub.address}/{name}"}, 409)
        self.hub.commit(name, {".gitattributes": b""})
        self.answer({"url": f"{self.hub.address}/{name}", "name": name, "id": name})

    def preupload(self, body, name, revision):
        files = json.loads(body)["files"]
        large = [file["path"].endswith((".safetensors", ".hdf5")) for file in files]
        self.answer({"files": [{"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
                               for file, lfs in zip(files, large, strict=True)]})  # fmt: skip

    def batch(self, body, name):
        objects = json.loads(body)["objects"]
        for row in objects:
            row["actions"] = {"upload": {"href": f"{self.hub.address}/objects/{row['oid']}", "header": {}}}
        self.answer({"transfer": "basic", "objects": objects})

    def put(self, body, oid):
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.objects[oid] = body
        self.answer({})

    def commit(self, body, name, revision):
        files = dict(self.hub.files(name)[1])
        for row in map(json.loads, body.decode().splitlines()):
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif row["key"] == "deletedFile":
                files.pop(value["path"])
        made = self.hub.commit(name, files)
        self.answer({"success": True, "commitOid": made, "commitUrl": f"{self.hub.address}/{name}/commit/{made}"})


_NAME, _KIND = r"([^/]+/[^/]+)", r"(?:models|datasets)"
_ROUTES = [
    (("POST",), "/api/validate-yaml", lambda self, body: self.answer({"errors": [], "warnings": []})),
    (("POST",), "/api/repos/create", _Handler.create),
    (("GET",), rf"/api/{_KIND}/{_NAME}(?:/revision/([^/]+))?", _Handler.info),
    (("GET",), rf"/api/{_KIND}/{_NAME}/tree/([^/]+)", _Handler.tree),
    (("POST",), rf"/api/{_KIND}/{_NAME}/preupload/([^/]+)", _Handler.preupload),
    (("POST",), rf"/api/{_KIND}/{_NAME}/commit/([^/]+)", _Handler.commit),
    (("POST",), rf"(?:/datasets)?/{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    (("PUT",), "/objects/([0-9a-f]{64})", _Handler.put),
    (("GET", "HEAD"), rf"(?:/datasets)?/{_NAME}/resolve/([^/]+)/(.+)", _Handler.resolve),
]


@contextmanager
def serve():
    """A stand-in that runs until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub, hub.address = hub, f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
