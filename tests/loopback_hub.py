"""A loopback server that implements the part of the Hub's protocol that its client uses, and fails on demand."""

import base64
import hashlib
import http.server
import json
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LoopbackHub(http.server.ThreadingHTTPServer):
    """Server of one repository, user/repo.

    Attributes:
        files: Dict from names to bytes.
        requests: List of `(method, path, headers)`.
        fault: `None`, or a function of `(method, name, data)` that returns `None` for no fault, a status code, other
            bytes to send, `("cut", n)` to close the connection after n bytes, `("stall", n)` to send n bytes and then
            wait until `go` is set, or a URL to redirect to.
        token: Token of a private repository; `None` for a public one.
    """

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.requests, self.fault, self.token = dict(files), [], None, None
        self.uploads, self.commits, self.go = {}, [COMMIT], threading.Event()
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def asked(self, method):
        """Paths that were requested by a method."""
        return [path for m, path, _ in self.requests if m == method]

    def handle_error(self, request, client_address):
        pass  # connections that are closed by the test


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.resolve(body=False)

    def do_GET(self):
        self.resolve(body=True)

    def note(self):
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers))
        return self.path.split("?")[0].strip("/").split("/")

    def reply(self, status, data=b"", body=True, **headers):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def resolve(self, body):
        hub, parts = self.server, self.note()
        cdn = parts[0] == "cdn"
        name = parts[-1]
        if not cdn and (parts[:3] != ["user", "repo", "resolve"] or not self.allowed()):
            return self.reply(401 if hub.token else 404, X_Error_Code="RepoNotFound")
        if not cdn and parts[3] not in ("main", *hub.commits):
            return self.reply(404, X_Error_Code="RevisionNotFound")
        if name not in hub.files:
            return self.reply(404, X_Error_Code="EntryNotFound", X_Repo_Commit=hub.commits[-1])
        data = hub.files[name]
        found = {"X_Repo_Commit": hub.commits[-1], "ETag": f'"{hashlib.sha256(data).hexdigest()}"'}
        start, fault = 0, hub.fault and hub.fault(self.command, name, data)
        if isinstance(fault, int):
            return self.reply(fault, X_Error_Code="GatedRepo" if fault == 403 else "", body=body)
        if isinstance(fault, str) and not cdn:
            linked = {"X_Linked_Etag": found["ETag"], "X_Linked_Size": str(len(data))}
            return self.reply(302, body=body, Location=fault, **found, **linked)
        if isinstance(fault, bytes):
            data = fault
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            found["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        data = data[start:]
        if not isinstance(fault, tuple):
            return self.reply(206 if wanted else 200, data, body, **found)
        self.reply(206 if wanted else 200, data, False, **found)
        self.wfile.write(data[: fault[1]])
        self.wfile.flush()
        if fault[0] == "stall":
            hub.go.wait(30)

    def allowed(self):
        return not self.server.token or self.headers.get("Authorization") == f"Bearer {self.server.token}"

    def do_POST(self):
        hub, parts = self.server, self.note()
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.allowed():
            return self.reply(401)
        if parts == ["api", "repos", "create"]:
            return self.json({"url": f"{hub.endpoint}/user/repo"})
        if parts == ["api", "validate-yaml"]:
            return self.json({"errors": [], "warnings": []})
        if parts[4:5] == ["preupload"]:
            files = [f["path"] for f in json.loads(sent)["files"]]
            modes = {f: "lfs" if f.endswith(".h5") else "regular" for f in files}
            return self.json({"files": [{"path": f, "uploadMode": m, "shouldIgnore": False} for f, m in modes.items()]})
        if parts[-2:] == ["objects", "batch"]:
            href = f"{hub.endpoint}/upload/"
            objects = [{**o, "actions": {"upload": {"href": href + o["oid"]}}} for o in json.loads(sent)["objects"]]
            return self.json({"transfer": "basic", "objects": objects}, "application/vnd.git-lfs+json")
        if parts[4:5] == ["commit"]:
            return self.commit([json.loads(line) for line in sent.splitlines()])
        return self.reply(404)

    def commit(self, lines):
        hub = self.server
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                hub.files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                hub.files[value["path"]] = hub.uploads[value["oid"]]
        hub.commits.append(hashlib.sha1(repr(sorted(hub.files)).encode()).hexdigest())
        url = f"{hub.endpoint}/user/repo/commit/{hub.commits[-1]}"
        self.json({"success": True, "commitOid": hub.commits[-1], "commitUrl": url, "hookOutput": ""})

    def do_PUT(self):
        oid = self.note()[-1]
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if hashlib.sha256(data).hexdigest() != oid:
            return self.reply(422)
        self.server.uploads[oid] = data
        return self.reply(200)

    def json(self, content, kind="application/json"):
        self.reply(200, json.dumps(content).encode(), Content_Type=kind)

    def log_message(self, *args):
        pass
