from __future__ import annotations

import hashlib
import http.server
import io
import os
import stat
import threading
import urllib.request
import warnings
import zipfile
from types import SimpleNamespace

import pytest

from sonolex.cli import main
from sonolex.data import archives, download, transfer
from sonolex.data.archives import unpack
from sonolex.data.transfer import Expected, fetch
from sonolex.files import save_json
from sonolex.locks import only_here


class Handler(http.server.BaseHTTPRequestHandler):
    """Files from memory, with ranges. ``cut`` ends every answer early; ``tags`` are ETags; ``answers`` replace all."""

    def do_GET(self):
        name = self.path.rsplit("/", 1)[1]
        requested_range = self.headers.get("Range")
        start = int(requested_range[6:-1]) if requested_range else 0
        self.server.requests.append((name, start))
        if name in self.server.answers:
            status, headers, body = self.server.answers[name]
            self.send_response(status)
            for header in headers.items():
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(body)
            return
        content, tag = self.server.files.get(name), self.server.tags.get(name)
        if content is None:
            self.send_error(404)
            return
        if tag and self.headers.get("If-Range") not in (None, tag):
            start, requested_range = 0, None
        if start >= len(content) and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        body = content[start:]
        self.send_response(206 if requested_range else 200)
        if requested_range:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if tag:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut] if self.server.cut else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as s:
        s.files, s.requests, s.cut, s.tags, s.answers = {}, [], 0, {}, {}
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


def test_a_broken_transfer_resumes_where_it_stopped(server, tmp_path):
    server.files["a.bin"] = bytes(range(256)) * 40
    server.cut = 3000
    with pytest.raises(OSError, match=r"ended|cannot be fetched|IncompleteRead"):
        fetch(f"{server.address}/a.bin", tmp_path / "a.bin", Expected(md5(server.files["a.bin"])))
    assert not (tmp_path / "a.bin").exists() and (tmp_path / "a.bin.part").stat().st_size == 3000
    server.cut = 0
    fetch(f"{server.address}/a.bin", tmp_path / "a.bin", Expected(md5(server.files["a.bin"])))
    assert (tmp_path / "a.bin").read_bytes() == server.files["a.bin"]
    assert server.requests == [("a.bin", 0), ("a.bin", 3000)]
    fetch(f"{server.address}/a.bin", tmp_path / "a.bin", Expected(md5(server.files["a.bin"])))
    assert len(server.requests) == 2  # complete: not requested again


def test_a_wrong_checksum_is_an_error_and_the_next_call_starts_again(server, tmp_path):
    server.files["a.bin"] = b"spoilt"
    with pytest.raises(ValueError, match="MD5"):
        fetch(f"{server.address}/a.bin", tmp_path / "a.bin", Expected(md5(b"whole")))
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="404"):
        fetch(f"{server.address}/gone.bin", tmp_path / "gone.bin")


def test_a_corpus_is_fetched_from_a_mirror_and_unpacked(server, tmp_path, monkeypatch, capsys):
    content = archive(Actor_01__a="1", Actor_02__b="2")
    server.files |= {"Audio_Speech_Actors_01-24.zip": content}
    server.files["md5sums.txt"] = f"{md5(content)}  Audio_Speech_Actors_01-24.zip\n".encode()
    for _ in range(2):
        assert main(["download", "ravdess", "--out", str(tmp_path / "r"), "--mirror", server.address]) == 0
    assert (tmp_path / "r" / "Actor_02" / "b").read_text() == "2"
    assert [n for n, _ in server.requests].count("Audio_Speech_Actors_01-24.zip") == 1
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
        unpack(file)
    assert not (tmp_path / "evil.txt").exists()


def broken_off(server, tmp_path, content: bytes, **expected):
    """Fetch the first 3000 bytes of a file."""
    server.files["a.bin"], server.cut = content, 3000
    with pytest.raises(OSError, match=r"ended after 3,000 of 10,240 bytes.*same command again"):
        fetch(f"{server.address}/a.bin", tmp_path / "a.bin", Expected(**expected))
    assert not (tmp_path / "a.bin").exists()
    server.cut = 0


FIRST, SECOND = bytes(range(256)) * 40, bytes(reversed(range(256))) * 40


def test_a_part_is_resumed_without_a_checksum_where_the_server_confirms_the_file(server, tmp_path):
    server.tags["a.bin"] = '"one"'
    broken_off(server, tmp_path, FIRST)
    fetch(f"{server.address}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == FIRST
    assert server.requests == [("a.bin", 0), ("a.bin", 3000)]
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("tags", [('"one"', '"two"'), ('W/"one"', 'W/"one"'), (None, None)])
def test_a_part_of_another_version_is_not_resumed(server, tmp_path, tags):
    server.tags["a.bin"] = tags[0]
    broken_off(server, tmp_path, FIRST)
    server.files["a.bin"], server.tags["a.bin"] = SECOND, tags[1]
    fetch(f"{server.address}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == SECOND


def test_a_part_from_another_or_an_unknown_address_is_not_resumed(server, tmp_path):
    server.tags["a.bin"] = '"one"'
    broken_off(server, tmp_path, FIRST)
    server.files["b.bin"], server.tags["b.bin"] = SECOND, '"one"'
    fetch(f"{server.address}/b.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == SECOND
    (tmp_path / "c.bin.part").write_bytes(b"stale")
    (tmp_path / "c.bin.part.json").write_text("[")
    server.files["c.bin"] = FIRST
    fetch(f"{server.address}/c.bin", tmp_path / "c.bin")
    assert (tmp_path / "c.bin").read_bytes() == FIRST


@pytest.mark.parametrize(
    "content_range", ["bytes 0-7239/7240", "bytes 3001-10239/10240", "bytes 3000-9000/10240", "", "nonsense"]
)
def test_a_server_that_sends_the_wrong_piece_is_asked_for_the_whole_file(server, tmp_path, content_range):
    server.tags["a.bin"] = '"one"'
    broken_off(server, tmp_path, FIRST)
    server.answers["a.bin"] = (206, {"Content-Range": content_range, "ETag": '"one"'}, b"x" * 7240)
    with pytest.raises(OSError, match="from its beginning"):
        fetch(f"{server.address}/a.bin", tmp_path / "a.bin")
    server.answers.clear()
    fetch(f"{server.address}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == FIRST


def test_range_not_satisfiable_means_whole_only_if_the_length_is_the_same(server, tmp_path):
    server.tags["a.bin"] = '"one"'
    server.files["a.bin"] = FIRST
    note = {"address": f"{server.address}/a.bin", "validator": '"one"', "num_bytes": len(FIRST)}
    for there in (FIRST, FIRST + b"more"):
        (tmp_path / "a.bin.part").write_bytes(there)
        save_json(tmp_path / "a.bin.part.json", note)
        fetch(f"{server.address}/a.bin", tmp_path / "a.bin")
        assert (tmp_path / "a.bin").read_bytes() == FIRST
        (tmp_path / "a.bin").unlink()
    assert server.requests == [("a.bin", len(FIRST)), ("a.bin", len(FIRST) + 4), ("a.bin", 0)]


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        ("a.bin", (200, {}, b"closed early?"), "sent with its length"),
        ("a.bin", (200, {"Transfer-Encoding": "chunked"}, b"5\r\nhello\r\n5\r\nwor"), "ended after"),
        ("a.bin", (200, {"Content-Length": "3", "Content-Encoding": "gzip"}, b"abc"), "sent as gzip"),
        ("a.bin", (200, {"Content-Length": "0"}, b""), "a file with content, but is empty"),
        ("a.csv", (200, {"Content-Length": "21"}, b"\n<!DOCTYPE HTML>sorry"), "is a web page"),
        ("a.zip", (200, {"Content-Length": "4"}, b"oops"), "a zip archive, but begins with b'oops'"),
        ("a.bin", (200, {"Content-Length": str(1 << 60)}, b""), "must have room for"),
        ("a.bin", (204, {}, b""), "answered with 200, but is with 204"),
        ("a.bin", (503, {"Content-Length": "0"}, b""), "cannot be fetched: HTTP Error 503"),
        (
            "a.bin",
            (302, {"Content-Length": "9", "Location": "http://127.0.0.1:9/x"}, b""),
            r"cannot be fetched: .*Incomplete",
        ),
    ],
)
def test_a_wrong_or_incomplete_file_never_takes_its_name(server, tmp_path, name, answer, message):
    server.answers[name] = answer
    with pytest.raises((OSError, ValueError), match=message):
        fetch(f"{server.address}/{name}", tmp_path / name)
    assert not (tmp_path / name).exists()


def test_chunked_answers_that_end_are_whole(server, tmp_path):
    server.answers["a.bin"] = (200, {"Transfer-Encoding": "chunked"}, b"5\r\nhello\r\n0\r\n\r\n")
    http.server.BaseHTTPRequestHandler.protocol_version, before = "HTTP/1.1", Handler.protocol_version
    try:
        fetch(f"{server.address}/a.bin", tmp_path / "a.bin")
    finally:
        http.server.BaseHTTPRequestHandler.protocol_version = before
    assert (tmp_path / "a.bin").read_bytes() == b"hello"


def test_a_length_in_the_record_is_compared(server, tmp_path):
    server.files["a.bin"] = b"oops"
    with pytest.raises(OSError, match="must have 10,240 bytes, but has 4"):
        fetch(f"{server.address}/a.bin", tmp_path / "a.bin", Expected(num_bytes=10_240))


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "gopher://x/", "data:,x"])
def test_redirects_lead_to_the_web_only(server, tmp_path, target):
    server.answers["a.bin"] = (302, {"Location": target, "Content-Length": "0"}, b"")
    with pytest.raises(OSError, match=r"not followed|not allowed|cannot be fetched"):
        fetch(f"{server.address}/a.bin", tmp_path / "a.bin")
    server.answers["b.bin"] = (302, {"Location": f"{server.address}/c.bin", "Content-Length": "0"}, b"")
    server.files["c.bin"] = b"moved"
    fetch(f"{server.address}/b.bin", tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == b"moved"
    request = urllib.request.Request("https://host/x")
    with pytest.raises(OSError, match="not followed"):
        transfer._Redirects().redirect_request(request, None, 302, "", {}, "http://host/x")


def test_a_redirect_without_end_ends(server, tmp_path):
    server.answers["a.bin"] = (302, {"Location": f"{server.address}/a.bin", "Content-Length": "0"}, b"")
    with pytest.raises(OSError, match="cannot be fetched"):
        fetch(f"{server.address}/a.bin", tmp_path / "a.bin")


@pytest.mark.parametrize("mirror", ["file:///tmp", "/tmp/mirror", "ftp://host/x", "http://"])
def test_a_mirror_is_on_the_web(mirror, tmp_path, capsys):
    assert main(["download", "ravdess", "--out", str(tmp_path), "--mirror", mirror]) == 2
    assert "`mirror` must begin with http:// or https://" in capsys.readouterr().err


@pytest.mark.parametrize("sums", [b"<html>sorry</html>", b"abc  a.zip\n", b"\xff\xfe", b"0" * 32])
def test_a_malformed_list_of_checksums_is_an_error(server, tmp_path, sums, capsys):
    server.files |= {"md5sums.txt": sums}
    assert main(["download", "ravdess", "--out", str(tmp_path), "--mirror", server.address]) == 2
    assert "md5sums.txt" in capsys.readouterr().err


def test_a_list_of_checksums_that_cannot_be_fetched_is_not_taken_for_a_missing_one(server, tmp_path, capsys):
    server.answers["md5sums.txt"] = (500, {"Content-Length": "0"}, b"")
    assert main(["download", "ravdess", "--out", str(tmp_path), "--mirror", server.address]) == 2
    assert "cannot be fetched" in capsys.readouterr().err


def zip_of(place, *members, method=zipfile.ZIP_DEFLATED):
    """Write a zip of (name or ZipInfo, content)."""
    with warnings.catch_warnings(), zipfile.ZipFile(place, "w", method) as z:
        warnings.simplefilter("ignore")  # of names that occur twice
        for name, content in members:
            z.writestr(name, content)
    return place


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../evil", "x")], "leads out"),
        ([("a/../../evil", "x")], "leads out"),
        ([("/tmp/evil", "x")], "no plain relative path"),
        ([("C:/evil", "x")], "no plain relative path"),
        ([("a\\..\\evil", "x")], "no plain relative path"),
        ([("a\nb", "x")], "no plain relative path"),
        ([(special("a", stat.S_IFLNK | 0o777), "/etc/passwd")], "is a link"),
        ([(special("a", stat.S_IFIFO | 0o777), "")], "a pipe or a device"),
        ([("a", "1"), ("a", "2")], "name of another"),
        ([("a", "1"), ("./a", "2")], "name of another"),
        ([("a", "1"), ("a/b", "2")], "is a folder as well"),
        ([("in.zip", "1")], "belongs to the download"),
        ([(".in.zip.unpacked", "1")], "belongs to the download"),
        ([(".locks/download", "1")], "belongs to the download"),
        ([("n" * 300, "1")], "more than 255 bytes"),
    ],
)
def test_members_that_are_not_plain_files_are_refused_before_anything_is_written(tmp_path, members, message):
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match=message):
        unpack(zip_of(tmp_path / "in" / "in.zip", ("good", "x"), *members))
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["in.zip"]


def test_a_link_that_lies_in_the_folder_already_is_not_followed_out_of_it(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "a").symlink_to(tmp_path / "out")
    with pytest.raises(ValueError, match="through a link"):
        unpack(zip_of(tmp_path / "in" / "in.zip", ("a/b", "x")))
    assert not list((tmp_path / "out").iterdir())


def test_an_archive_that_would_fill_the_disk_is_refused_by_its_table_of_contents(tmp_path, monkeypatch):
    place = zip_of(tmp_path / "in.zip", ("a", bytes(30 << 20)), ("b", bytes(30 << 20)))
    monkeypatch.setattr(archives, "SMALL_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="at most 100 times its"):
        unpack(place)
    monkeypatch.setattr(archives, "MOST_MEMBERS", 1)
    with pytest.raises(ValueError, match="at most 1 members"):
        unpack(place)
    monkeypatch.undo()
    monkeypatch.setattr(archives, "MOST_DIRECTORY_BYTES", 50)
    with pytest.raises(ValueError, match="table of contents"):
        unpack(place)
    monkeypatch.undo()
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: SimpleNamespace(free=60 << 20))
    with pytest.raises(OSError, match="must have room for 62,914,560 bytes"):
        unpack(place)
    assert [p.name for p in tmp_path.iterdir()] == ["in.zip"]


def test_a_damaged_or_encrypted_archive_is_one_line_and_leaves_whole_files_only(tmp_path):
    place = zip_of(tmp_path / "in.zip", ("a", b"1" * 5000), ("b", b"2" * 5000), method=zipfile.ZIP_STORED)
    data = bytearray(place.read_bytes())
    data[data.index(b"2" * 100)] ^= 1
    place.write_bytes(data)
    with pytest.raises(ValueError, match=r"in\.zip must be a whole zip archive, but is not: Bad CRC"):
        unpack(place)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "in.zip"]
    place.write_bytes(bytes(data[:-30]))
    with pytest.raises(ValueError, match="whole zip archive"):
        unpack(place)
    place.write_bytes(bytes(data[:40] + data[140:]))  # zipfile looks before the beginning: "Invalid argument"
    with pytest.raises(ValueError, match=r"in\.zip must be a whole zip archive"):
        unpack(place)
    secret = bytearray(zip_of(tmp_path / "in.zip", ("a", b"1")).read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        secret[secret.index(mark) + offset] |= 1
    place.write_bytes(secret)
    with pytest.raises(ValueError, match="is encrypted"):
        unpack(place)


def test_unpacking_that_was_killed_is_done_again_and_leaves_nothing_behind(tmp_path, monkeypatch):
    place = zip_of(tmp_path / "in.zip", *((f"folder/{i}", f"text {i}") for i in range(20)))
    copy = archives.shutil.copyfileobj
    count = iter(range(100))

    def killed(source, target, length):
        target.write(b"half")
        target.flush()
        if next(count) == 7:
            os._exit(9)
        target.seek(0)
        copy(source, target, length)

    child = os.fork()
    if not child:
        archives.shutil.copyfileobj = killed
        unpack(place)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    there = [p for p in (tmp_path / "folder").iterdir() if not p.name.startswith(".building-")]
    assert len(there) == 7 and all(p.read_text() == f"text {p.name}" for p in there)
    for _ in range(2):
        unpack(place)
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == sorted(str(i) for i in range(20))
    (tmp_path / "folder" / "3").write_text("changed by the user")
    unpack(place)  # unpacked already
    assert (tmp_path / "folder" / "3").read_text() == "changed by the user"
    unpack(zip_of(place, ("folder/3", "a new version")))
    assert (tmp_path / "folder" / "3").read_text() == "a new version"


def test_two_processes_do_not_download_to_one_folder(server, tmp_path, capsys):
    with only_here(tmp_path, "download", "downloads"):
        assert main(["download", "ravdess", "--out", str(tmp_path), "--mirror", server.address]) == 2
    assert "another process" in capsys.readouterr().err
