"""What a reader on GitHub sees must be whole, clean and current."""

import ast
import base64
import json
import re
from pathlib import Path

import pytest

from course import results

HERE = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((HERE / "notebooks").glob("[0-9][0-9]_*.ipynb"))
LAYERS = HERE / "notebooks" / "layers.py"
MODULES = [LAYERS, *sorted((HERE / "notebooks" / "course").glob("*.py"))]
MIMES = {"text/plain", "text/markdown", "image/png"}
LEAKS = re.compile(
    r"/root/|/home/|/Users/|/tmp/|/work/|[A-Z]:\\\\|0x[0-9a-f]{6,}|tcp://|127\.0\.0\.1"
)
FRAMEWORKS = {"torch", "tensorflow", "keras", "jax", "dask", "distributed"}
ALLOWED = {"08_pytorch": {"torch"}, "09_tensorflow": {"tensorflow", "keras"}}
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind="code"):
    """The cells of one kind of a stored notebook."""
    content = json.loads(path.read_text("utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


def ignored(cell):
    """Whether nbval is told not to compare what a cell shows."""
    return "nbval-ignore-output" in cell["metadata"].get("tags", [])


def outputs(path):
    """Every output of a notebook, with the number of its cell."""
    for cell in cells(path):
        for output in cell["outputs"]:
            yield cell["execution_count"], output


def printed(cell):
    """What a cell printed, as one text."""
    return "".join("".join(output.get("text", [])) for output in cell["outputs"])


def test_there_are_all_chapters():
    assert [path.stem for path in NOTEBOOKS] == list(results.CHAPTERS)


@by_name
def test_was_executed_top_to_bottom(path):
    counts = [cell["execution_count"] for cell in cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@by_name
def test_outputs_are_clean(path):
    for number, output in outputs(path):
        assert output["output_type"] != "error", f"cell {number} shows an error"
        assert output.get("name") != "stderr", f"cell {number} writes to stderr"
        assert set(output.get("data", {})) <= MIMES, f"cell {number}: {output['data']}"
        data = output.get("data", {})
        words = [data.get(kind, []) for kind in ("text/plain", "text/markdown")]
        words.append(output.get("text", []))
        leak = LEAKS.search("".join(map("".join, words)))
        assert not leak, f"cell {number} shows {leak}"


@by_name
def test_size_and_metadata(path):
    content = json.loads(path.read_text("utf-8"))
    assert path.stat().st_size < 1_000_000
    assert set(content["metadata"]) == {"kernelspec", "language_info"}
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in content["cells"]]
    assert len(ids) == len(set(ids))


@by_name
def test_every_picture_has_an_alternative_text(path):
    pictures = [o for _, o in outputs(path) if "image/png" in o.get("data", {})]
    assert pictures
    for picture in pictures:
        alt = picture["metadata"]["image/png"]["alt"]
        assert len(alt.split()) >= 4 and alt == "".join(picture["data"]["text/plain"])
    for cell in cells(path, "markdown"):
        for alt in re.findall(r"!\[([^\]]*)\]", source(cell)):
            assert len(alt.split()) >= 4


@by_name
def test_pictures_fit_the_column_of_a_reader(path):
    for number, output in outputs(path):
        if "image/png" in output.get("data", {}):
            png = base64.b64decode(output["data"]["image/png"])
            assert int.from_bytes(png[16:20]) <= 900, f"cell {number}"


@by_name
def test_shape_of_the_page(path):
    texts = [source(cell) for cell in cells(path, "markdown")]
    headings = re.findall(r"^#{1,2} .*", "\n".join(texts), re.M)
    assert sum(line.startswith("# ") for line in headings) == 1
    assert "## Exercises" in headings and "## Solutions" in headings
    for text in texts:
        assert not re.fullmatch(r"#+ [^\n]*\n*", text), f"a heading alone: {text}"
        assert not re.search(r"\b[Ss]imply\b|\b[Jj]ust\b|XX ?%|TODO", text), text
    for cell in cells(path):
        assert max(map(len, source(cell).splitlines())) <= 88
        assert not source(cell).rstrip().endswith(";")
    assert sum(source(cell).count("assert") for cell in cells(path)) >= 5


@by_name
def test_exercises_reject_the_stub_and_accept_the_solution(path):
    said = [
        re.findall(r"(check_\w+): (solved|not solved)", printed(c)) for c in cells(path)
    ]
    tagged = ["solution" in c["metadata"].get("tags", []) for c in cells(path)]
    stubs = {name for line, tag in zip(said, tagged) if not tag for name in line}
    solutions = {name for line, tag in zip(said, tagged) if tag for name in line}
    assert 3 <= len(stubs) <= 5
    assert {word for _, word in stubs} == {"not solved"}
    assert {word for _, word in solutions} == {"solved"}
    assert {name for name, _ in stubs} == {name for name, _ in solutions}
    for cell, tag in zip(cells(path), tagged):
        assert cell["metadata"].get("jupyter", {}).get("source_hidden", False) == tag


@by_name
def test_the_test_set_is_opened_in_one_cell(path):
    opened = [c["execution_count"] for c in cells(path) if "data.test" in source(c)]
    assert len(opened) <= 1
    if opened:
        later = [c for c in cells(path) if c["execution_count"] > opened[0]]
        assert not any(re.search(r"\b[Xy]_test\b", source(cell)) for cell in later)
    assert not opened or path.stem not in ALLOWED  # they end on validation


@by_name
def test_what_is_not_compared_shows_something(path):
    for cell in cells(path):
        if ignored(cell):
            assert cell["outputs"], f"nothing to ignore:\n{source(cell)}"


EPOCH = re.compile(r"^epoch +\d+: loss .* s$", re.M)


@by_name
def test_a_training_that_prints_its_seconds_is_not_compared(path):
    for cell in cells(path):
        assert ignored(cell) or not EPOCH.search(printed(cell)), source(cell)


def test_the_long_trainings_print_their_epochs():
    last = [path for path in NOTEBOOKS if path.stem[:2] in ("06", "07")]
    for path in last:
        lines = [line for cell in cells(path) for line in EPOCH.findall(printed(cell))]
        assert len(lines) == 10, path.name


def imported(tree, lazily=True):
    """The packages that code imports; without ``lazily``, those it cannot do without.

    What stands in a function or a ``try`` is imported lazily.
    """
    names, lazy = set(), (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Try)
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
        if lazily or not isinstance(node, lazy):
            names |= imported(node, lazily)
    return names


def code(path):
    """The code of a notebook or a module, as a tree."""
    text = path.read_text("utf-8")
    if path in NOTEBOOKS:
        text = "\n".join(map(source, cells(path)))
    return ast.parse(text)


@pytest.mark.parametrize("path", [*NOTEBOOKS, *MODULES], ids=lambda path: path.stem)
def test_frameworks_are_imported_where_they_are_the_subject_only(path):
    lazily = path.stem != "10_speed"  # it measures them where they are installed
    found = imported(code(path), lazily) & FRAMEWORKS
    assert found <= ALLOWED.get(path.stem, set())


def test_imports_are_found_wherever_they_stand():
    text = "import a.b\nfrom c.d import e\nfrom . import f\nif g:\n    import h\n"
    tree = ast.parse(
        text + "def i():\n    import j\ntry:\n    import k\nfinally:\n    l"
    )
    assert imported(tree) == {"a", "c", "h", "j", "k"}
    assert imported(tree, lazily=False) == {"a", "c", "h"}


@by_name
def test_a_framework_is_asked_for_before_it_is_imported(path):
    needed = {"08_pytorch": "torch", "09_tensorflow": "tensorflow"}.get(path.stem)
    if needed:
        first = source(cells(path)[0])
        asked = re.search(rf"^\w+ = extras\.need\(\"{needed}\"\)", first, re.M)
        assert asked and not imported(ast.parse(first[: asked.start()])) & FRAMEWORKS


def test_layers_are_written_like_the_chapters():
    text = LAYERS.read_text("utf-8")
    assert not re.search(r"\b[Ss]imply\b|\b[Jj]ust\b|TODO", text)
    assert not re.search(r"np\.random\.(?!Generator)", text)  # an rng is passed along
    modules = re.findall(r"^\s*(?:import|from) (\w+)", text, re.M)
    assert set(modules) == {"time", "numpy"}
    tree = ast.parse(text)
    named = [n for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef))]
    for node in [tree, *named]:
        assert ast.get_docstring(node), getattr(node, "name", "layers.py")


def links(text):
    """The targets of Markdown links and pictures that point into the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(
        r'(?:src|href)="([^"]+)"', text
    )
    return [
        link.split("#")[0] for link in found if not re.match(r"https?:|#|mailto:", link)
    ]


def test_links_point_to_what_exists():
    pages = {
        path: "\n".join(map(source, cells(path, "markdown"))) for path in NOTEBOOKS
    }
    for path in [*HERE.glob("*.md"), HERE / "data" / "README.md"]:
        pages[path] = path.read_text("utf-8")
    assert any(links(text) for text in pages.values())
    for path, text in pages.items():
        for link in links(text):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"


@by_name
def test_neighbours_are_linked(path):
    text = "\n".join(map(source, cells(path, "markdown")))
    index = NOTEBOOKS.index(path)
    for neighbour in NOTEBOOKS[max(index - 1, 0) : index + 2]:
        assert neighbour == path or f"({neighbour.name})" in text
