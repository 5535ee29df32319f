"""Text that any Debian machine carries: the training and held-out documents of the shrunk model.

A document is one file (one page of a manual, one module). Held-out documents are chosen by a hash
of their name, so that the split needs no list and does not move when packages are added.
"""

from __future__ import annotations

import gzip
import hashlib
import html.parser
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Files of one kind: where they lie, how they become plain text, under which terms."""

    domain: str
    about: str
    licence: str
    root: str
    patterns: tuple[str, ...]
    plain: Callable[[str], str]
    skip: str = r"(?!)"  # a regular expression on the path below `root`; matches nothing


@dataclass(frozen=True)
class Document:
    """One text and where it comes from."""

    domain: str
    name: str
    text: str

    @property
    def held_out(self) -> bool:
        """Whether training must not see it: one document in 24, by name."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4]) % 24 == 0


def plain_troff(text: str) -> str:
    """Manual-page source without comments, font changes and most macros."""
    text = re.sub(r'^[.\']\s*\\".*\n', "", text, flags=re.M)
    text = re.sub(r"\\f(\[\w*\]|\(..|.)|\\s[-+]?\d|\\[&/,|^]", "", text)
    text = text.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\(bu", "*").replace(r"\e", "\\")
    text = re.sub(r"^\.(SH|SS|Sh|Ss|TH|Dd|Dt) +", "\n", text, flags=re.M)
    text = re.sub(
        r"^\.(PP|P|LP|Pp|RS|RE|nf|fi|br|sp|IP|TP|in|ad|hy|ne|na|if|ie|el|de|ds)\b.*\n",
        "",
        text,
        flags=re.M,
    )
    return re.sub(r"^\.[A-Za-z]{1,2} ", "", text, flags=re.M)


class _Words(html.parser.HTMLParser):
    """Collects the visible text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Hide scripts and styles; break lines at blocks."""
        self.hidden += tag in ("script", "style")
        if tag in ("p", "div", "li", "h1", "h2", "h3", "h4", "pre", "br", "dt", "dd", "tr"):
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """Show text again after a script or style."""
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        """Keep visible text."""
        if not self.hidden:
            self.parts.append(data)


def plain_html(text: str) -> str:
    """Return the visible text of an HTML page."""
    words = _Words()
    words.feed(text)
    return "".join(words.parts)


def plain_text(text: str) -> str:
    """Return text that needs no conversion."""
    return text


def plain_info(text: str) -> str:
    """Info pages without node headers."""
    return re.sub(r"^File: .*$|\x1f|\x7f.*$", "", text, flags=re.M)


SOURCES = (
    Source(
        "manual",
        "Debian manual pages, sections 1-8",
        "each page's own free licence",
        "/usr/share/man",
        ("man[1-8]/*.gz",),
        plain_troff,
        skip=r"man./gcloud|man1/llvm-exegesis",
    ),
    Source(
        "python",
        "Python 3.11 standard library sources",
        "PSF-2.0",
        "/usr/lib/python3.11",
        ("**/*.py",),
        plain_text,
        skip=r"(^|/)(test|tests|idle_test|pydoc_data|site-packages|dist-packages)/",
    ),
    Source(
        "c",
        "C headers of glibc and the Linux kernel interface",
        "LGPL-2.1+, GPL-2.0 with note",
        "/usr/include",
        ("*.h", "linux/**/*.h", "asm-generic/*.h", "x86_64-linux-gnu/**/*.h"),
        plain_text,
    ),
    Source(
        "reference",
        "Python 3.11 documentation sources",
        "PSF-2.0",
        "/usr/share/doc/python3.11/html/_sources",
        ("**/*.rst.txt",),
        plain_text,
    ),
    Source(
        "prose",
        "Debian Administrator's Handbook (English)",
        "GPL-2+ or CC-BY-SA-3.0",
        "/usr/share/doc/debian-handbook/html/en-US",
        ("*.html",),
        plain_html,
    ),
    Source(
        "prose",
        "Debian Reference (English)",
        "GPL-2+",
        "/usr/share/debian-reference",
        ("*.en.html",),
        plain_html,
    ),
    Source(
        "prose",
        "Debian Developer's Reference",
        "GPL-2+",
        "/usr/share/developers-reference/_sources",
        ("*.rst.txt",),
        plain_text,
    ),
    Source(
        "prose",
        "fortune collections",
        "public domain and short quotations",
        "/usr/share/games/fortunes",
        ("[a-z]*[a-z]",),
        plain_text,
    ),
    Source("prose", "GNU Info manuals", "GFDL-1.3", "/usr/share/info", ("*.gz",), plain_info),
    Source(
        "prose",
        "free-software licence texts",
        "verbatim copying permitted",
        "/usr/share/common-licenses",
        ("*[0-9]",),
        plain_text,
    ),
)


def _read(path: Path) -> str:
    """Decode a text file, gzipped or not; empty where it is not UTF-8 text."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def documents(
    sources: tuple[Source, ...] = SOURCES, min_chars: int = 400, max_chars: int = 200_000
) -> Iterator[Document]:
    """Yield the documents present on this machine, in a fixed order, each content once.

    Longer documents are cut to `max_chars` so that no single file dominates its domain.
    """
    seen: set[bytes] = set()
    for source in sources:
        root = Path(source.root)
        paths = sorted({p for pattern in source.patterns for p in root.glob(pattern)})
        for path in paths:
            name = path.relative_to(root).as_posix()
            if not path.is_file() or re.search(source.skip, name):
                continue
            text = source.plain(_read(path))
            text = re.sub(r"\n{3,}", "\n\n", text.replace("\r", "")).strip()[:max_chars]
            digest = hashlib.sha256(text.encode()).digest()
            if len(text) >= min_chars and digest not in seen:
                seen.add(digest)
                yield Document(source.domain, f"{source.domain}/{name}", text)
