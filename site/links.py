"""Check a built site without a network: every local address leads somewhere, and nothing is loaded from another host.

    python site/links.py build/site
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"link": "href"} | dict.fromkeys(("script", "img", "audio", "video", "source", "iframe"), "src")


class Page(HTMLParser):
    """The ids of a page, where its links lead, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids, self.links, self.loads = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "link" and found.get("rel") in ("canonical", "alternate"):
            return
        if found.get(LOADED.get(tag)):
            self.loads.append(found[LOADED[tag]])


def problems(folder: Path | str) -> list[str]:
    """What is wrong with the links of a site: a line each, empty when all is well.

    Args:
        folder: where the site lies.

    Returns:
        broken local links and fragments, malformed addresses, and whatever a page or a style sheet loads from elsewhere.
    """
    folder = Path(folder).resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder)
        found += [f"{name}: loads {address}" for address in page.loads if urlsplit(address).netloc]
        for address in dict.fromkeys([*page.links, *page.loads]):
            if trouble := _trouble(address, path, pages, folder):
                found.append(f"{name}: {address}: {trouble}")
    for path in sorted(folder.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        for address in re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", text):
            found.append(f"{path.relative_to(folder)}: loads {address}")
    return found


def _trouble(address: str, page: Path, pages: dict[Path, Page], folder: Path) -> str | None:
    """Why an address is wrong; None when it is not, or cannot be told without a network."""
    parts = urlsplit(address)
    if parts.scheme in ("data", "mailto", "javascript"):
        return None
    if parts.scheme or parts.netloc:
        return None if parts.scheme in ("http", "https") and "." in parts.netloc else "no address"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_relative_to(folder) or not target.exists():
        return "no such file"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
        return "no such place on the page"
    return None


def main() -> int:
    found = problems(sys.argv[1])
    print("\n".join(found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
