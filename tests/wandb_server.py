"""A stand-in for the server of Weights & Biases: it answers what a run asks, and keeps what comes.

Of its interface only what a run of these tests needs: queries and mutations by their names, the
stream of a run's files, and uploads. Artifacts are said to be known already, so none are sent.
"""

import gzip
import json
import re
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USER = {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}"}


class Server(ThreadingHTTPServer):
    """Listens at a free port of this machine until it is left."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.runs = {}  # name -> what was last said of it
        self.uploads = {}  # path -> bytes
        self.streamed = defaultdict(list)  # file -> its lines
        self.artifacts = []
        self.gone = False  # from now on every answer is that it is not there

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        """Say nothing of a client that has left."""

    def answer(self, name, given):
        """Answer a query or mutation."""
        known = {
            "Viewer": lambda: {"viewer": USER | {"teams": {"edges": []}}},
            "UpsertBucket": lambda: {"upsertBucket": self._run(given)},
            "ArtifactType": lambda: {"project": {"artifact": None}},
            "ServerFeaturesQuery": lambda: {"serverInfo": {"features": []}},
            "CreateArtifact": lambda: {"createArtifact": self._artifact(given["input"])},
            "CreateRunFiles": lambda: {"createRunFiles": self._files(given["files"])},
        }
        return known.get(name, dict)()

    def _run(self, given):
        said = {key: value for key, value in given.items() if value is not None}
        self.runs[given["name"]] = self.runs.get(given["name"], {}) | said
        entity = {"id": "e", "name": "me"}
        project = {"id": "p", "name": given["project"], "entity": entity}
        bucket = {
            "id": "b",
            "name": given["name"],
            "displayName": given["displayName"] or "unnamed",
        }
        bucket |= {"project": project, "historyLineCount": 0}
        return {"bucket": bucket, "inserted": True}

    def _artifact(self, given):
        self.artifacts.append(given["artifactCollectionName"])
        sequence = {"latestArtifact": None}
        return {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}}

    def _files(self, names):
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in names]
        return {"runID": "b", "uploadHeaders": [], "files": files}


class Handler(BaseHTTPRequestHandler):
    """Takes one request after the other."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Print nothing."""

    def _take(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        answer = {}
        if self.server.gone:
            pass
        elif self.path == "/graphql":
            asked = json.loads(body)
            name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            given = asked.get("variables") or {}
            answer = {"data": self.server.answer(name and name[1], given)}
        elif self.path.startswith("/upload/"):
            self.server.uploads[self.path.removeprefix("/upload/")] = body
        elif self.path.endswith("/file_stream"):
            for file, part in json.loads(body).get("files", {}).items():
                self.server.streamed[file] += part["content"]
        told = json.dumps(answer).encode()
        self.send_response(503 if self.server.gone else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST = do_PUT = _take  # noqa: N815 - names that http.server asks for
