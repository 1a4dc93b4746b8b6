"""A download survives broken connections and never leaves a wrong file; against a real web server on this machine.

So do Debian packages: the real apt-get, told by ``APT_CONFIG`` to know nothing but an archive on that server.
"""

import contextlib
import hashlib
import http.server
import re
import shutil
import socket
import subprocess
import threading

import pytest

from askd import packages
from askd.download import DownloadError, download
from askd.packages import PackageUnavailable, unpack_deb, unpacked

CONTENT = bytes(range(256)) * 2000  # 512 kB


class Web(http.server.ThreadingHTTPServer):
    """Serves ``files``; breaks off after ``cuts`` bytes, one entry a request; keeps the Range header of every request."""

    def __init__(self, files, cuts=(), ranges=True, status=None):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.cuts, self.ranges, self.status, self.asked = files, list(cuts), ranges, status, []

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        web, wanted = self.server, self.headers.get("Range")
        web.asked.append(wanted)
        content = web.files.get(self.path[1:])
        if content is None or web.status:
            return self.send_error(web.status or 404)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and web.ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = web.cuts.pop(0) if web.cuts else len(content)
        self.wfile.write(content[start : start + cut])
        self.close_connection = True

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(files, **options):
    with Web(files, **options) as web:
        threading.Thread(target=web.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield web
        finally:
            web.shutdown()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def digests(content=CONTENT):
    return {"sha256": hashlib.sha256(content).hexdigest(), "md5": hashlib.md5(content).hexdigest()}


def test_whole_file_and_no_second_request(tmp_path):
    with serving({"a.bin": CONTENT}) as web:
        for _ in range(2):
            assert download(web.url("a.bin"), tmp_path / "deep" / "a.bin", **digests()).read_bytes() == CONTENT
    assert web.asked == [None]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.bin"]


def test_broken_connections_are_resumed_from_the_part(tmp_path):
    with serving({"a.bin": CONTENT}, cuts=[100_000, 0, 200_000]) as web:
        download(web.url("a.bin"), tmp_path / "a.bin", **digests(), pause_s=0.001)
    assert web.asked == [None, "bytes=100000-", "bytes=100000-", "bytes=300000-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_the_part_of_an_earlier_process_is_used(tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:7])
    with serving({"a.bin": CONTENT}) as web:
        download(web.url("a.bin"), tmp_path / "a.bin", **digests())
    assert web.asked == ["bytes=7-"]


def test_a_whole_part_is_only_checked_and_renamed(tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    with serving({"a.bin": CONTENT}) as web:
        download(web.url("a.bin"), tmp_path / "a.bin", **digests())
    assert web.asked == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_file_starts_again(tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"more")
    with serving({"a.bin": CONTENT}) as web:
        download(web.url("a.bin"), tmp_path / "a.bin", **digests(), pause_s=0.001)
    assert web.asked[-1] is None and (tmp_path / "a.bin").read_bytes() == CONTENT


def test_without_range_it_starts_again(tmp_path):
    with serving({"a.bin": CONTENT}, cuts=[100_000], ranges=False) as web:
        download(web.url("a.bin"), tmp_path / "a.bin", **digests(), pause_s=0.001)
    assert web.asked == [None, "bytes=100000-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_gives_up_when_nothing_more_comes_and_keeps_the_part(tmp_path, ranges):
    with (
        serving({"a.bin": CONTENT}, cuts=[1000] + ([0] if ranges else [1000]) * 50, ranges=ranges) as web,
        pytest.raises(DownloadError, match=r"broke after 1000 of 512000 bytes \(3 tries\); 1000 bytes are kept"),
    ):
        download(web.url("a.bin"), tmp_path / "a.bin", tries=3, pause_s=0.001)
    assert len(web.asked) == 3
    assert (tmp_path / "a.bin.part").read_bytes() == CONTENT[:1000] and not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize("name", ["sha256", "md5"])
def test_wrong_content_is_named_with_both_digests_and_deleted(tmp_path, name):
    wrong = CONTENT[:-1] + b"!"
    with serving({"a.bin": wrong}) as web, pytest.raises(DownloadError) as caught:
        download(web.url("a.bin"), tmp_path / "a.bin", **{name: digests()[name]})
    assert digests()[name] in str(caught.value) and digests(wrong)[name] in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_already_there_is_named_and_left(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"a\.bin: sha256 is"):
        download(f"http://127.0.0.1:{free_port()}/a.bin", tmp_path / "a.bin", sha256=digests()["sha256"])
    assert (tmp_path / "a.bin").read_bytes() == b"mine"


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 2), (429, 2)])
def test_the_servers_refusal_is_named_and_only_passing_ones_are_tried_again(tmp_path, status, requests):
    with serving({"a.bin": CONTENT}, status=status) as web, pytest.raises(DownloadError, match=r"a\.bin: .*" + str(status)):
        download(web.url("a.bin"), tmp_path / "a.bin", tries=2, pause_s=0.001)
    assert len(web.asked) == requests


def test_nobody_answers(tmp_path):
    with pytest.raises(DownloadError, match=r"Connection refused.*2 tries"):
        download(f"http://127.0.0.1:{free_port()}/a.bin", tmp_path / "a.bin", tries=2, pause_s=0.001)


def test_a_silent_server_is_not_waited_for_for_ever(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(DownloadError, match="timed out"):
            download(f"http://127.0.0.1:{silent.getsockname()[1]}/a", tmp_path / "a", tries=1, timeout_s=0.2)


def test_full_disk_keeps_the_part(tmp_path):
    import resource
    import signal

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with serving({"a.bin": CONTENT}) as web:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
            with pytest.raises(DownloadError, match=r"a\.bin\.part: File too large.*kept"):
                download(web.url("a.bin"), tmp_path / "a.bin")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        download(web.url("a.bin"), tmp_path / "a.bin", **digests())
    assert web.asked == [None, "bytes=200000-"]


needs_apt = pytest.mark.skipif(not (shutil.which("apt-get") and shutil.which("dpkg-deb")), reason="apt-get and dpkg-deb")


@pytest.fixture(scope="module")
def deb(tmp_path_factory) -> bytes:
    """A real package that holds one file; as large as needs more than one block."""
    root = tmp_path_factory.mktemp("deb")
    (root / "package/DEBIAN").mkdir(parents=True)
    control = "Package: good\nVersion: 1\nArchitecture: all\nMaintainer: A B <a@b.example>\nDescription: one file\n"
    (root / "package/DEBIAN/control").write_text(control)
    (root / "package/speech.bin").write_bytes(CONTENT)
    subprocess.run(["dpkg-deb", "-b", root / "package", root / "good.deb"], check=True, capture_output=True)
    return (root / "good.deb").read_bytes()


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """Call it with the address of an archive; nothing of this machine's apt is used or changed."""
    for folder in ("lists/partial", "cache/archives/partial", "none"):
        (tmp_path / "apt" / folder).mkdir(parents=True)
    (tmp_path / "apt/status").touch()
    (tmp_path / "apt/apt.conf").write_text(
        f'Dir::State "{tmp_path}/apt"; Dir::State::status "{tmp_path}/apt/status"; Dir::Cache "{tmp_path}/apt/cache";\n'
        f'Dir::Etc::sourcelist "{tmp_path}/apt/sources.list"; Dir::Etc::sourceparts "{tmp_path}/apt/none";\n'
        f'Dir::Etc::preferencesparts "{tmp_path}/apt/none"; Acquire::http::Proxy "false"; Acquire::Retries "0";\n'
    )
    monkeypatch.setenv("APT_CONFIG", f"{tmp_path}/apt/apt.conf")
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "_failed", {})
    packages._update.cache_clear()
    yield lambda url: (tmp_path / "apt/sources.list").write_text(f"deb [trusted=yes] {url} ./\n")
    packages._update.cache_clear()


def archive(**debs) -> dict[str, bytes]:
    """The files of an archive with an index, as `Web` serves them."""
    index = "".join(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: A B\nFilename: ./{name}.deb\nSize: {len(content)}\n"
        f"SHA256: {hashlib.sha256(content).hexdigest()}\nDescription: one file\n\n"
        for name, content in debs.items()
    )
    return {"./Packages": index.encode(), **{f"./{name}.deb": content for name, content in debs.items()}}


@needs_apt
def test_a_package_is_fetched_once_with_the_lists_it_needs(apt, deb):
    with serving(archive(good=deb)) as web:
        apt(web.url(""))
        folder = unpacked("good")
        assert (folder / "speech.bin").read_bytes() == CONTENT
        had = len(web.asked)
        assert unpacked("good") == folder and len(web.asked) == had


@needs_apt
def test_a_package_that_is_missing_or_damaged_is_named_and_stops_no_other(apt, deb):
    with serving(archive(good=deb, bad=deb[: len(deb) // 2])) as web:
        apt(web.url(""))
        for _ in range(2):
            had = len(web.asked)
            with pytest.raises(PackageUnavailable, match=r"'none' could not be fetched \(E: Unable to locate package none"):
                unpacked("none")
            with pytest.raises(PackageUnavailable, match=r"bad\S*\.deb is damaged \(dpkg-deb: error"):
                unpacked("bad")
        assert len(web.asked) == had  # the second time from memory
        assert (unpacked("good") / "speech.bin").is_file()
        assert not (packages.cache_dir() / "packages/bad").exists()


@needs_apt
@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_damaged_deb_leaves_nothing(tmp_path, deb, keep):
    (tmp_path / "cut.deb").write_bytes(deb[: int(keep * len(deb)) if keep < 1 else keep])
    with pytest.raises(PackageUnavailable, match=r"cut\.deb is damaged \(.+\): left out"):
        unpack_deb(tmp_path / "cut.deb", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["cut.deb"]


@needs_apt
@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "does not answer"])
def test_an_archive_out_of_reach_is_waited_for_once(apt, deb, silent, monkeypatch):
    with serving(archive(good=deb, other=deb)) as web:
        apt(web.url(""))
        packages._update()  # the lists of a time with network
        port = web.server_port
    monkeypatch.setattr(packages, "APT_LIMIT_S", 1)
    refused = pytest.raises(PackageUnavailable, match="no answer in 1 s" if silent else "Could not connect to")
    with socket.create_server(("127.0.0.1", port)) if silent else contextlib.nullcontext(), refused:
        unpacked("good")
    with serving(archive(good=deb, other=deb)) as web:  # it is back: who asked again would get both
        apt(web.url(""))
        packages._update.cache_clear()
        for name in ("good", "other"):
            with pytest.raises(PackageUnavailable, match=f"'{name}' could not be fetched .*(no answer|Could not connect)"):
                unpacked(name)
        assert web.asked == []
