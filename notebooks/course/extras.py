"""PyTorch, TensorFlow and Dask: extras that only chapters 8 to 10 ask for."""

import contextlib
import importlib
import io
import os
import re
import tempfile
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements-frameworks.txt"
HELP = (
    "Close JupyterLab, and start it with `python3 tasks.py lab --frameworks`: it "
    "installs what is in requirements-frameworks.txt. The README says more."
)


class Unavailable(ImportError):
    """An extra that this page needs is missing; shown as one sentence, no traceback."""

    def _render_traceback_(self):  # what IPython shows in place of a traceback
        return [str(self)]


def bounds(text, package):
    """The lowest version of a package, and the first too new, by a requirements file.

    Raises ValueError when no line of it names the package.
    """
    line = re.search(rf"^{package}>=([\d.]+),<([\d.]+)", text, re.M)
    if not line:
        raise ValueError(f"requirements-frameworks.txt does not name {package}.")
    return line[1], line[2]


def numbers(version):
    """The numbers of a version, for comparing: (2, 13) for "2.13.0+cpu"."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:2])


def need(package):
    """Import PyTorch ("torch"), "tensorflow" or Dask ("distributed"), and return it.

    Raises Unavailable, with what to do, when it is missing, cannot be imported, or has
    a version that the course was not written for.
    """
    low, high = bounds(REQUIREMENTS.read_text("utf-8"), package)
    try:
        with quietly():
            module = importlib.import_module(package)
    except Exception as reason:  # a broken installation fails in any way
        missing = isinstance(reason, ModuleNotFoundError) and reason.name == package
        first = (str(reason).strip() or type(reason).__name__).splitlines()[0]
        what = "is not installed" if missing else f"cannot be imported ({first})"
        raise Unavailable(f"This page needs {package}, which {what}. {HELP}") from None
    version = getattr(module, "__version__", None) or metadata.version(package)
    if not numbers(low) <= numbers(version) < numbers(high):
        raise Unavailable(
            f"This page needs {package} from {low} to below {high}, and "
            f"{version} is installed. {HELP}"
        )
    return module


@contextlib.contextmanager
def quietly():
    """Keep what a framework writes to stderr while it is imported off the page.

    Python writes to ``sys.stderr``, a library in C to the file that has the number 2.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        kept = os.dup(2)
    except OSError:  # there is none, as under pythonw on Windows
        kept = None
    with tempfile.TemporaryFile() as nowhere, contextlib.redirect_stderr(io.StringIO()):
        if kept is not None:
            os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            if kept is not None:
                os.dup2(kept, 2)
                os.close(kept)
