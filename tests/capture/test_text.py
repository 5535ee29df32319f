"""Documents found on a machine: plain, each once, split by name."""

import gzip

import pytest

from ndpsim.capture.text import (
    Document,
    Source,
    documents,
    plain_html,
    plain_text,
    plain_troff,
)


@pytest.fixture
def source(tmp_path):
    words = "what a page says " * 40
    (tmp_path / "a.txt").write_text(words)
    (tmp_path / "copy.txt").write_text(words)
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe" * 400)
    (tmp_path / "skipped.txt").write_text(words + "else")
    (tmp_path / "b.gz").write_bytes(gzip.compress((words + "zipped").encode()))
    return Source("prose", "", "", str(tmp_path), ("*.txt", "*.gz"), plain_text, skip="skipped")


def test_each_content_once_and_only_real_text(source):
    found = list(documents((source,)))
    assert [d.name for d in found] == ["prose/a.txt", "prose/b.gz"]
    assert found[1].text.endswith("zipped")


def test_a_source_that_is_not_installed_is_empty(tmp_path):
    missing = Source("prose", "", "", str(tmp_path / "none"), ("*",), plain_text)
    assert list(documents((missing,))) == []


def test_the_split_depends_on_the_name_alone():
    held_out = [Document("x", f"x/{i}", "").held_out for i in range(2400)]
    assert 60 < sum(held_out) < 150
    assert held_out == [Document("y", f"x/{i}", "text").held_out for i in range(2400)]


def test_manual_source_reads_as_text():
    page = '.\\" comment\n.SH NAME\nls \\- list\n.PP\n.B \\-a\n\\fBall\\fR files\n'
    assert plain_troff(page) == "\nNAME\nls - list\n-a\nall files\n"


def test_html_reads_as_text():
    page = "<style>x</style><p>One &amp; <b>two</b></p><script>no()</script>"
    assert plain_html(page).strip() == "One & two"
