"""The code of a page: shown to the reader, and kept for the chapters that measure it.

Notebooks never import each other, they meet in results/.  So a chapter whose network
is needed later saves the definitions of its cells there, as a module, as they stand.
"""

import ast
import inspect
import io
import linecache
import textwrap
import tokenize
import types

from IPython import get_ipython
from IPython.display import Markdown, display

from . import results


def show(*things):
    """Show the sources of functions or methods, each below its name."""
    sources = [
        f"# {thing.__qualname__}\n{textwrap.dedent(inspect.getsource(thing))}"
        for thing in things
    ]
    text = "\n".join(sources).rstrip()
    display(Markdown(f"```python\n{text}\n```"))


def definition(name):
    """The source of a function or class of this page, as its cell defined it last."""
    thing = get_ipython().user_ns.get(name)
    for part in [thing, *getattr(thing, "__dict__", {}).values()]:  # or its methods
        if hasattr(part, "__code__"):
            cell = "".join(linecache.getlines(part.__code__.co_filename))
            nodes = {getattr(node, "name", None): node for node in ast.parse(cell).body}
            if name in nodes:
                starts = [nodes[name], *nodes[name].decorator_list]
                first = min(node.lineno for node in starts)
                return "\n".join(cell.splitlines()[first - 1 : nodes[name].end_lineno])
    raise NameError(f"No cell of this page defines {name!r}; run the one that does.")


def count(source):
    """The number of lines of code in a text: no blank ones, comments or docstrings."""
    layout = {tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT}
    layout |= {tokenize.NEWLINE, tokenize.ENDMARKER}
    lines, begins = set(), True  # begins: no token of this statement has come yet
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in layout:
            if not (begins and token.type == tokenize.STRING):
                lines.update(range(token.start[0], token.end[0] + 1))
            begins = False
        begins |= token.type == tokenize.NEWLINE
    return len(lines)


def save(name, imports, *things):
    """Save functions and classes of this page as results/``name``.py, for others.

    ``imports`` are the lines that the module begins with.
    """
    chapter = name.split("/")[0]
    head = f'"""Written by notebooks/{chapter}.ipynb: the definitions of its cells."""'
    parts = [definition(thing.__name__) for thing in things]
    text = "\n\n\n".join([f"{head}\n\n{imports.strip()}", *parts]) + "\n"
    file = results.path(f"{name}.py")
    if not file.exists() or file.read_text("utf-8") != text:
        file.write_text(text, "utf-8", newline="\n")


def find(name):
    """The file that ``save`` wrote under this name, in this run or before."""
    for folder in (results.root(), results.STORED):
        file = folder / f"{name}.py"
        if file.exists():
            return file
    chapter = name.split("/")[0]
    raise FileNotFoundError(
        f"results/{name}.py is missing. Open notebooks/{chapter}.ipynb and run it, or "
        f"bring it back with `git checkout results`."
    )


def load(name):
    """The module that ``save`` wrote: ``load("06_convolution/network").lenet``."""
    file = find(name)
    module = types.ModuleType(name.replace("/", "_"))
    exec(compile(file.read_text("utf-8"), file, "exec"), vars(module))
    return module
