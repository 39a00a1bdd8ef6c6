"""Downloads: a zip from a mirror that lies about lengths, ends early, or goes on from a stale part."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import random
import threading
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import mutations, structured
from benchmarks.fuzzing.cases import Mutation
from benchmarks.fuzzing.doors import sonolex

ARCHIVE = "Audio_Speech_Actors_01-24.zip"
NAMES = ("../canary/precious.txt", "../../canary/x", "/tmp/x", "a/../../x", "C:\\x", "..\\x", "a" * 300, "a\0b", ".",
         "Actor_01/", "é", "e\u0301", "ACTOR_01/01.wav", "Actor_01/01.wav/below", "-", "con")  # fmt: skip


def warm() -> None:
    import sonolex.cli
    import sonolex.data.corpora.ravdess
    import sonolex.data.download  # noqa: F401


def make(folder: Path) -> None:
    for name in ("summed", "unsummed"):
        place = folder / name
        place.mkdir()
        with zipfile.ZipFile(place / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as z:
            for number in range(4):
                z.writestr(f"Actor_{number:02d}/{number:02d}.wav", random.Random(number).randbytes(4000))
        if name == "summed":
            _write_sum(place)


def mutate(folder: Path, rng: random.Random) -> Mutation:
    archive, summed = folder / ARCHIVE, (folder / "md5sums.txt").is_file()
    size, way = archive.stat().st_size, rng.random()
    if way < 0.3:
        behaviour = {
            "ends_after": rng.choice((0, 4, rng.randrange(size), size)),
            "length": rng.choice((None, None, 0, size, size * 2, 2**63, -1, "x")),
            "status": rng.choice((200, 200, 200, 206, 404, 500, 302)),
            "stale": rng.choice((0, 0, 4, size // 2, size, size + 10)),
        }
        (folder / "server.json").write_text(json.dumps(behaviour))
        return Mutation(f"server: {behaviour}", harmful=True)
    if summed and way < 0.4:
        return Mutation(mutations.change_bytes(folder / "md5sums.txt", rng).what)
    if way < 0.7:
        found = structured.change_zip(archive, rng, names=NAMES)
    else:
        found = mutations.change_bytes(archive, rng, header=(size - 400, size))
    if summed and rng.random() < 0.5:
        _write_sum(folder)  # the mirror itself is hostile
        return Mutation(found.what)
    return Mutation(found.what, harmful=summed)


def use(folder: Path, out: Path) -> Any:
    behaviour = json.loads((folder / "server.json").read_text()) if (folder / "server.json").is_file() else {}
    release = out / "release"
    if behaviour.get("stale"):
        release.mkdir()
        (release / f"{ARCHIVE}.part").write_bytes(b"\xee" * behaviour["stale"])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Mirror, folder, behaviour))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sonolex("download", "ravdess", "--out", release, "--mirror", f"http://127.0.0.1:{server.server_port}")
    files = sorted(p for p in release.rglob("*.wav") if p.is_file())
    return {str(p.relative_to(release)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


class _Mirror(http.server.BaseHTTPRequestHandler):
    """Gives the files of a folder, as badly as it is told."""

    def __init__(self, folder: Path, behaviour: dict[str, Any], *rest: Any):
        self.folder, self.behaviour = folder, behaviour
        super().__init__(*rest)

    def do_GET(self) -> None:
        file = self.folder / self.path.rsplit("/", 1)[1]
        bad = self.behaviour if file.name == ARCHIVE else {}
        if not file.is_file():
            self.send_error(404)
            return
        content, status = file.read_bytes(), bad.get("status", 200)
        first = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        if first and status == 200:
            status = 206 if first < len(content) else 416
        self.send_response(status)
        sent = content[first:][: bad.get("ends_after", len(content))]
        length = len(content[first:]) if bad.get("length") is None else bad["length"]
        if bad.get("length", 0) != 0 or "length" not in bad or bad["length"] is None:
            self.send_header("Content-Length", str(length))
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = True

    def log_message(self, format: str, *words: Any) -> None:
        pass


def _write_sum(folder: Path) -> None:
    (folder / "md5sums.txt").write_text(f"{hashlib.md5((folder / ARCHIVE).read_bytes()).hexdigest()}  {ARCHIVE}\n")
