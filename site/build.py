"""Build the site and check it: ``make site``.

    python site/build.py [FOLDER]      # default build/site

Fails on any warning of Sphinx, any broken local link, and anything that a page would load from another host.
"""

import shutil
import sys
from pathlib import Path

from links import problems

SITE = Path(__file__).resolve().parent


def build(folder: Path | str) -> list[str]:
    """Build into ``folder``; what is wrong, empty when all is well."""
    from sphinx.cmd.build import build_main

    folder = Path(folder)
    if (folder / "searchindex.js").is_file():  # an earlier site: pages that are no more would stay
        shutil.rmtree(folder)
    doctrees = folder.with_name(f"{folder.name}.doctrees")
    options = ["-b", "html", "-q", "-E", "-W", "--keep-going", "-c", str(SITE), "-d", str(doctrees)]
    warned = ["Sphinx warned: see above"] if build_main([*options, str(SITE.parent), str(folder)]) else []
    if (folder / "README.html").is_file():
        shutil.copy(folder / "README.html", folder / "index.html")  # the repository's front page is the site's
    return problems(folder) + warned


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else SITE.parent / "build" / "site")
    found = build(folder)
    print("\n".join(found) or f"the site is in {folder}: open {folder / 'index.html'}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
