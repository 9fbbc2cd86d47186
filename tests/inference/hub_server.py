"""A hub of one model on this machine, as far as `huggingface_hub` asks."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "c0ffee" * 6 + "c0ff"
FETCH = """
import sys
from espnet_smoe.inference.hub import fetch
try:
    print(*sorted(path.name for path in fetch(sys.argv[1]).iterdir()))
except ValueError as error:
    print(f"{type(error).__name__}: {error}")
"""


@contextmanager
def hub(name: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder as the model `name`.

    Yields:
        The address, and a list of the paths that are asked for.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            path = self.path.partition("?")[0]
            if path == f"/api/models/{name}/revision/main":
                self._send(json.dumps({"id": name, "sha": COMMIT}).encode())
            elif path == f"/api/models/{name}/tree/{COMMIT}":
                files = [
                    {
                        "type": "file",
                        "path": file.name,
                        "size": file.stat().st_size,
                        "oid": _sum(file),
                    }
                    for file in folder.iterdir()
                ]
                self._send(json.dumps(files).encode())
            elif path.startswith(f"/{name}/resolve/{COMMIT}/"):
                file = folder / path.rpartition("/")[2]
                self._send(file.read_bytes(), _sum(file))
            elif path.startswith(f"/api/models/{name}/"):
                self._send(b"", error="RevisionNotFound")
            else:
                self._send(b"", error="RepoNotFound")

        do_HEAD = do_GET

        def _send(self, body: bytes, etag: str = "", error: str = "") -> None:
            self.send_response(404 if error else 200)
            headers = {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body))}
            headers |= {"ETag": f'"{etag}"'} if etag else {}
            headers |= {"X-Error-Code": error} if error else {}
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def _sum(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


def fetched(name: str, address: str, cache: Path, offline: bool = False) -> str:
    """What another process says that fetches a model: names of files, or an error."""
    env = {"HF_ENDPOINT": address, "HF_HOME": str(cache)}
    env |= {"HF_HUB_OFFLINE": str(int(offline)), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, name],
        env=os.environ | env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def put_in_cache(folder: Path, cache: Path, name: str, revision: str = "main") -> None:
    """Lay a folder into a cache, as fetching it would: links to blobs."""
    place = cache / f"models--{name.replace('/', '--')}"
    snapshot, blobs = place / "snapshots" / COMMIT, place / "blobs"
    for made in (snapshot, blobs, place / "refs"):
        made.mkdir(parents=True, exist_ok=True)
    (place / "refs" / revision).write_text(COMMIT)
    for file in folder.iterdir():
        (blobs / _sum(file)).write_bytes(file.read_bytes())
        link = snapshot / file.name
        link.unlink(missing_ok=True)
        link.symlink_to(Path("../../blobs") / _sum(file))
