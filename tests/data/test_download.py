from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from types import SimpleNamespace

import pytest

from sonolex.cli import main
from sonolex.data import download


class Handler(http.server.BaseHTTPRequestHandler):
    """Files from memory, with ranges; ``cut`` ends the first answer early."""

    def do_GET(self):
        name = self.path.rsplit("/", 1)[1]
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.asked.append((name, start))
        if start >= len(content) and start:
            self.send_error(416)
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut] if self.server.cut else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as s:
        s.files, s.asked, s.cut = {}, [], 0
        thread = threading.Thread(target=s.serve_forever)
        thread.start()
        s.address = f"http://127.0.0.1:{s.server_port}/mirror"
        yield s
        s.shutdown()
        thread.join()


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        for name, text in members.items():
            z.writestr(name.replace("__", "/"), text)
    return buffer.getvalue()


def md5(content):
    return hashlib.md5(content).hexdigest()


def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.files["a.bin"] = bytes(range(256)) * 40
    server.cut = 3000
    with pytest.raises(OSError, match=r"ended|cannot be had|IncompleteRead"):
        download.fetch(f"{server.address}/a.bin", tmp_path / "a.bin", md5(server.files["a.bin"]))
    assert not (tmp_path / "a.bin").exists() and (tmp_path / "a.bin.part").stat().st_size == 3000
    server.cut = 0
    download.fetch(f"{server.address}/a.bin", tmp_path / "a.bin", md5(server.files["a.bin"]))
    assert (tmp_path / "a.bin").read_bytes() == server.files["a.bin"]
    assert server.asked == [("a.bin", 0), ("a.bin", 3000)]
    download.fetch(f"{server.address}/a.bin", tmp_path / "a.bin", md5(server.files["a.bin"]))
    assert len(server.asked) == 2  # complete: not asked for again


def test_a_wrong_checksum_is_an_error_and_the_next_call_starts_again(server, tmp_path):
    server.files["a.bin"] = b"spoilt"
    with pytest.raises(ValueError, match="MD5"):
        download.fetch(f"{server.address}/a.bin", tmp_path / "a.bin", md5(b"whole"))
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="404"):
        download.fetch(f"{server.address}/gone.bin", tmp_path / "gone.bin")


def test_a_corpus_is_fetched_from_a_mirror_and_unpacked(server, tmp_path, monkeypatch, capsys):
    content = archive(Actor_01__a="1", Actor_02__b="2")
    server.files |= {"Audio_Speech_Actors_01-24.zip": content}
    server.files["md5sums.txt"] = f"{md5(content)}  Audio_Speech_Actors_01-24.zip\n".encode()
    for _ in range(2):
        assert main(["download", "ravdess", "--out", str(tmp_path / "r"), "--mirror", server.address]) == 0
    assert (tmp_path / "r" / "Actor_02" / "b").read_text() == "2"
    assert [n for n, _ in server.asked].count("Audio_Speech_Actors_01-24.zip") == 1
    assert main(["download", "iemocap", "--out", str(tmp_path / "i")]) == 2
    assert "clotho_aqa, ravdess" in capsys.readouterr().err


def test_checksums_are_those_of_the_zenodo_record(server, tmp_path, monkeypatch):
    host = server.address.removesuffix("/mirror")
    server.files |= {
        "7": f'{{"files": [{{"key": "x.bin", "checksum": "md5:{md5(b"right")}"}}]}}'.encode(),
        "x.bin": b"wrong",
    }
    module = SimpleNamespace(DOWNLOADS=(f"{host}/records/7/files/x.bin",))
    monkeypatch.setattr(download, "find_module", lambda package, name, **_: module)
    with pytest.raises(ValueError, match="MD5"):
        download.download_corpus("ravdess", tmp_path)
    server.files["x.bin"] = b"right"
    assert (download.download_corpus("ravdess", tmp_path) / "x.bin").read_bytes() == b"right"


def test_an_archive_may_not_write_outside_its_folder(tmp_path):
    (tmp_path / "inner").mkdir()
    file = tmp_path / "inner" / "bad.zip"
    file.write_bytes(archive(**{"..__evil.txt": "x"}))
    with pytest.raises(ValueError, match="evil"):
        download._unpack(file)
    assert not (tmp_path / "evil.txt").exists()
