"""A headless Chromium for the tests: the machine's own, or Debian's with the libraries that are missing, unpacked into the cache.

    with browser() as chromium:
        page = chromium.new_page()

``ASKD_BROWSER`` names another executable. Where there is none, `BrowserUnavailable` says what to install.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from askd import packages
from askd.errors import AskdError
from askd.files import cache_dir, project_dir, replacing

PACKAGE = "chromium-headless-shell"
NAMES = ("chromium", "google-chrome", "google-chrome-stable", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
HINT = "install Chromium or Google Chrome (Debian: apt-get install chromium), or name one in ASKD_BROWSER"


class BrowserUnavailable(AskdError):
    """No Chromium here, and none to be had."""


def chromium() -> tuple[str, dict[str, str]]:
    """Path of an executable, and the environment that it needs beside the usual one.

    Raises:
        BrowserUnavailable: none here, and no package archive that has one.
    """
    for name in (os.environ.get("ASKD_BROWSER"), *NAMES):
        if name and (found := shutil.which(name)):
            return found, {}
    root = _debian()
    libraries = sorted({str(path.parent) for path in root.glob("**/*-linux-gnu/**/*.so*")})
    return str(root / "usr/lib/chromium" / PACKAGE), {"LD_LIBRARY_PATH": ":".join(libraries)}


@contextmanager
def browser() -> Iterator:
    """A running Chromium, a `playwright.sync_api.Browser`; sound goes nowhere and may play unasked."""
    from playwright.sync_api import sync_playwright

    path, extra = chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=path, env={**os.environ, **extra}, args=["--autoplay-policy=no-user-gesture-required", "--mute-audio"]
        )
        yield running
        running.close()


def picture(page, name: str) -> Path:
    """Keep what the page shows in ``build/browser/NAME.png``, for people to look at."""
    path = project_dir() / "build" / "browser" / f"{name}.png"
    page.screenshot(path=path)
    return path


PLAYS = """async audio => {
    await audio.play();
    for (let i = 0; i < 100 && !(audio.currentTime > 0); i++) await new Promise(done => setTimeout(done, 50));
    audio.pause();
    return {duration_s: audio.duration, heard_s: audio.currentTime, error: audio.error && audio.error.message};
}"""  # of an <audio>: it is decoded and its clock runs


def _debian() -> Path:
    """The folder of Debian's headless Chromium and of all that it needs and this machine lacks; fetched once, without root."""
    folder = cache_dir() / "packages" / f"{PACKAGE}-root"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
                raise BrowserUnavailable(f"no Chromium here: {HINT}")
            with replacing(folder) as target, tempfile.TemporaryDirectory() as scratch:
                for archive in _archives(scratch):
                    subprocess.run(["dpkg-deb", "-x", str(archive), str(target)], check=True, stdin=subprocess.DEVNULL)
    return folder


def _archives(scratch: str) -> list[Path]:
    complaint = ""
    for _ in range(2):  # the second time with fresh lists of packages
        needed = subprocess.run(
            ["apt-get", "-s", "install", "--no-install-recommends", PACKAGE], capture_output=True, text=True,
            stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"},
        )
        names = [line.split()[1] for line in needed.stdout.splitlines() if line.startswith("Inst ")]
        complaint = packages._apt("download", *names, scratch=scratch) if names else needed.stderr
        if names and not complaint:
            return sorted(Path(scratch).glob("*.deb"))
        packages._update()
    raise BrowserUnavailable(f"no Chromium here, and Debian's could not be fetched ({packages._last(complaint)}): {HINT}")


if __name__ == "__main__":
    print(*chromium())
