"""The READMEs say what results/ says, and the same in both languages."""

import re
from pathlib import Path

import pytest

from course import extras, mnist, results

HERE = Path(__file__).resolve().parents[1]
ENGLISH, FRENCH = (HERE / name for name in ("README.md", "README.fr.md"))


def text(path):
    return path.read_text("utf-8")


def headings(path):
    plain = re.sub(r"```.*?```", "", text(path), flags=re.S)
    return [len(marks) for marks in re.findall(r"^(#+) ", plain, re.M)]


def commands(path):
    """The blocks of commands, without their comments."""
    blocks = re.findall(r"```\w*\n(.*?)```", text(path), re.S)
    return [re.sub(r"\s*#.*", "", block) for block in blocks]


def numbers(path):
    """Every number of a page, sorted, as Python writes it."""
    plain = re.sub(r"```.*?```|\([^)]*\)|<[^>]*>", "", text(path), flags=re.S)
    found = re.findall(r"\d+(?:[.,\u202f\u00a0]\d+)*", plain)
    if path == ENGLISH:
        return sorted(number.replace(",", "") for number in found)
    return sorted(re.sub("[\u202f\u00a0]", "", n).replace(",", ".") for n in found)


@pytest.mark.parametrize("path", [ENGLISH, FRENCH], ids=lambda path: path.name)
def test_numbers_are_computed_from_results(path, monkeypatch):
    monkeypatch.setattr(mnist, "source", lambda: "MNIST")
    monkeypatch.delenv("COURSE_RESULTS", raising=False)
    assert text(path) == results.filled(path.name)
    assert results.table(path.name) in text(path)
    assert "92.03" in results.table() and "97.12" in results.table()
    assert results.twelve(path.name) in text(path)
    lines = results.twelve(path.name).splitlines()
    assert not lines or len(lines) == 2 + 12


@pytest.mark.parametrize("path", [ENGLISH, FRENCH], ids=lambda path: path.name)
def test_every_chapter_has_its_row(path):
    rows = re.findall(r"^\| \[(\d+)\. [^\]]+\]\(notebooks/(\S+)\)", text(path), re.M)
    pages = sorted((HERE / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    assert rows == [(str(int(page.name[:2])), page.name) for page in pages]


@pytest.mark.parametrize("path", [ENGLISH, FRENCH], ids=lambda path: path.name)
def test_links_within_the_page_reach_a_heading(path):
    titles = re.findall(r"^#+ (.*)", text(path), re.M)
    anchors = [re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles]
    for link in re.findall(r"\]\(#([^)]*)\)", text(path)):
        assert link in anchors


def test_versions_of_the_extras_are_those_of_their_file():
    low, high = extras.bounds(extras.REQUIREMENTS.read_text("utf-8"), "torch")
    for path in (ENGLISH, FRENCH):
        assert f'"torch>={low},<{high}"' in text(path)


def test_both_languages_have_the_same_structure():
    assert headings(ENGLISH) == headings(FRENCH)
    assert commands(ENGLISH) == commands(FRENCH)
    assert text(ENGLISH).count("|") == text(FRENCH).count("|")
    pictures = r"!\[[^\]]{10,}\]\(([^)]*)\)"
    assert re.findall(pictures, text(ENGLISH)) == re.findall(pictures, text(FRENCH))


def test_both_languages_have_the_same_numbers():
    assert numbers(ENGLISH) == numbers(FRENCH)
    assert len(numbers(ENGLISH)) > 20


def test_each_links_to_the_other_at_its_top():
    assert "(README.fr.md)" in text(ENGLISH)[:400]
    assert "(README.md)" in text(FRENCH)[:400]
