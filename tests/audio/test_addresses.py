"""Nothing touches the network unless the user allowed it, and then it answers in time."""

from __future__ import annotations

import http.server
import threading
import time

import pytest

from sonolex.audio import addresses
from sonolex.audio.io import AudioError, check_audio, probe_audio, read_audio, read_encoded
from tests.audio.test_io import encoded, sine

READERS = {
    "read": lambda source: read_audio(source, rate_hz=16_000),
    "probe": probe_audio,
    "check": check_audio,
    "bytes": read_encoded,
}


@pytest.fixture(autouse=True)
def nothing_asked(monkeypatch):
    monkeypatch.delenv(addresses.REMOTE, raising=False)


@pytest.fixture
def no_filesystem(monkeypatch):
    def requested(address):
        raise AssertionError(f"{address} was requested")

    monkeypatch.setattr(addresses, "_filesystem", requested)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("rest", ["bucket/clip.wav", "bucket/shard-00000.parquet#3", "user:secret@host:99/x.flac"])
@pytest.mark.parametrize("scheme", ["s3", "S3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "hf", "http", "https"])
def test_remote_addresses_are_refused_before_any_request(reader, rest, scheme, no_filesystem):
    with pytest.raises(AudioError, match=r"Download the file"):
        reader(f"{scheme}://{rest}")


def test_the_cure_names_the_variable_that_allows_a_scheme():
    with pytest.raises(AudioError, match=r"SONOLEX_REMOTE=s3\."):
        read_audio("s3://bucket/clip.wav", rate_hz=16_000)


def test_only_allowed_schemes_are_read_and_misspelt_ones_are_errors(monkeypatch, no_filesystem):
    monkeypatch.setenv(addresses.REMOTE, "s3")
    with pytest.raises(AssertionError, match="was requested"):
        read_audio("s3://bucket/clip.wav", rate_hz=16_000)
    with pytest.raises(AudioError, match=r"SONOLEX_REMOTE=gs,s3\."):
        read_audio("gs://bucket/clip.wav", rate_hz=16_000)
    monkeypatch.setenv(addresses.REMOTE, "s3, abfs")
    with pytest.raises(AudioError, match="SONOLEX_REMOTE must name schemes among s3, gs, hdfs, but has abfs"):
        read_audio("s3://bucket/clip.wav", rate_hz=16_000)


def test_an_address_that_does_not_answer_is_left_in_time(monkeypatch):
    monkeypatch.setenv(addresses.REMOTE, "gs")
    monkeypatch.setattr(addresses, "ANSWER_S", 0.2)
    monkeypatch.setattr(addresses, "_filesystem", lambda address: time.sleep(3))
    start = time.monotonic()
    for address in ("gs://bucket/clip.wav", "gs://bucket/a.parquet#0"):
        with pytest.raises(AudioError, match=r"must answer within 0\.2 s"):
            read_audio(address, rate_hz=16_000)
    assert time.monotonic() - start < 2


def test_file_addresses_are_paths(tmp_path):
    place = tmp_path / "a clip #1?.wav"
    place.write_bytes(encoded(sine(), 16_000))
    quoted = str(place).replace(" ", "%20").replace("#", "%23").replace("?", "%3F")
    for address in (f"file://{quoted}", f"file://localhost{quoted}", f"FILE://{quoted}"):
        assert len(read_audio(address, rate_hz=16_000)) == 8000
    for address in (f"file://host{quoted}", f"file://{place}", f"file://{quoted}?x", "file://[bad/x.wav"):
        with pytest.raises(AudioError, match="address"):
            read_audio(address, rate_hz=16_000)
    with pytest.raises(AudioError, match="missing"):
        read_audio(f"file://{quoted}.gone", rate_hz=16_000)


class Bucket(http.server.BaseHTTPRequestHandler):
    """As much of S3 as reading an object takes."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body: bool):
        content = self.server.content
        first, last = 0, len(content) - 1
        if requested := self.headers.get("Range"):
            first, last = (int(x) for x in requested.removeprefix("bytes=").split("-"))
            last = min(last, len(content) - 1)
        piece = content[first : last + 1]
        self.send_response(206 if requested else 200)
        self.send_header("Content-Length", str(len(piece)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if body:
            self.wfile.write(piece)

    def log_message(self, *_):
        pass


def test_an_allowed_address_is_read(monkeypatch):
    pytest.importorskip("pyarrow._s3fs")
    monkeypatch.setenv(addresses.REMOTE, "s3")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        server.content = encoded(sine(), 16_000)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        where = f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
        try:
            assert len(read_audio(f"s3://key:secret@bucket/clip.wav?{where}", rate_hz=16_000)) == 8000
            monkeypatch.setattr("sonolex.audio.sources.MOST_HELD_BYTES", 1000)
            with pytest.raises(AudioError, match="at most 1,000 bytes"):
                read_audio(f"s3://key:secret@bucket/clip.wav?{where}", rate_hz=16_000)
        finally:
            server.shutdown()
            thread.join()
