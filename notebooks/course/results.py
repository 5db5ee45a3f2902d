"""One folder and one ``metrics.json`` per chapter: written once, read by the READMEs.

Real MNIST writes to ``results/``, the stand-in to ``results/stand-in/``; the tests name
a folder of their own in ``COURSE_RESULTS``.  What agrees with the stored file stays as
it is, so a run on another machine changes nothing.
"""

import json
import math
import os
import re
import sys
from pathlib import Path

import numpy as np

from . import mnist

REPOSITORY = Path(__file__).resolve().parents[2]
STORED = REPOSITORY / "results"


def root():
    """The folder that this run writes to: the tests', the stand-in's, or results/."""
    if "COURSE_RESULTS" in os.environ:
        return Path(os.environ["COURSE_RESULTS"])
    return STORED if mnist.source() == "MNIST" else STORED / "stand-in"


def path(name):
    """The file ``name`` ("chapter/file.ext") of this run; its folder is made."""
    file = root() / name
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def agree(a, b, tolerance=1e-6):
    """Whether two JSON values are equal, floats to a relative ``tolerance``."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(agree(a[k], b[k], tolerance) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(agree, a, b, [tolerance] * len(a)))
    if isinstance(a, float) or isinstance(b, float):
        numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
        return numbers and math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-9)
    return a == b


def _plain(value):
    """NumPy's numbers and arrays as JSON's; anything else is refused by ``json``."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} does not belong into a JSON file")


def _write_json(file, value):
    """Write ``value`` unless the file already says the same; return it as stored."""
    text = json.dumps(value, indent=1, default=_plain, allow_nan=False) + "\n"
    value = json.loads(text)
    if not file.exists() or not agree(value, json.loads(file.read_text("utf-8"))):
        file.write_text(text, "utf-8", newline="\n")
    return value


def write(chapter, metrics):
    """Store a chapter's numbers, with the name of the data, as its ``metrics.json``."""
    _write_json(path(f"{chapter}/metrics.json"), {"data": mnist.source(), **metrics})


def read(chapter):
    """The numbers that ``chapter`` wrote on the data of this run, as a dictionary.

    Raises FileNotFoundError, with what to do next, when that chapter has not been run.
    """
    name = f"{chapter}/metrics.json"
    stored = [STORED] if mnist.source() == "MNIST" else [STORED / "stand-in"]
    for folder in [root(), *stored]:
        if (folder / name).exists():
            return json.loads((folder / name).read_text("utf-8"))
    raise FileNotFoundError(
        f"{chapter} has not been run on this data ({mnist.source()}) yet. "
        f"Open notebooks/{chapter}.ipynb, run it, and come back."
    )


def study(name, compute):
    """The numbers of a long study ("chapter/study"), always those of real MNIST.

    ``tasks.py render`` calls ``compute()``, which returns what JSON can hold, and
    stores it; everyone else reads what was stored.
    """
    file = STORED / f"{name}.json"
    if os.environ.get("COURSE_STUDY") == "compute":
        if mnist.source() != "MNIST":
            raise RuntimeError("The long studies are made on real MNIST only.")
        file.parent.mkdir(parents=True, exist_ok=True)
        return _write_json(file, compute())
    if not file.exists():
        raise FileNotFoundError(
            f"results/{name}.json is missing. It belongs to the repository: "
            f"`git checkout results` brings it back, `tasks.py render` makes it anew."
        )
    return json.loads(file.read_text("utf-8"))


def save_arrays(name, **arrays):
    """Save named arrays as ``name``.npz ("chapter/weights"), without pickle."""
    if any(array.dtype.hasobject for array in arrays.values()):
        raise ValueError(f"{name}: an array of objects would need pickle")
    file = path(f"{name}.npz")
    if file.exists():
        with np.load(file, allow_pickle=False) as old:
            same = set(old.files) == set(arrays) and all(
                old[key].dtype == value.dtype
                and old[key].shape == value.shape
                and np.allclose(old[key], value, rtol=1e-9, atol=1e-9)
                for key, value in arrays.items()
            )
        if same:
            return
    np.savez(file, **arrays)


def load_arrays(name):
    """The arrays that ``save_arrays`` stored on the data of this run, by name."""
    read(
        name.split("/")[0]
    )  # the same data, or a sentence that says which chapter to run
    file = root() / f"{name}.npz"
    if not file.exists():
        file = STORED / f"{name}.npz"
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


CHAPTERS = (
    "01_idx_exploration",
    "02_sklearn_baseline",
    "03_single_neuron",
    "04_neural_network",
    "05_better_training",
    "06_convolution",
    "07_alexnet",
)


def ladder(chapter):
    """The table of every model so far, with its validation accuracy, as Markdown.

    Each chapter's metrics hold "ladder": a list of [model, accuracy in percent].
    Chapters after ``chapter`` are left out, and so are those not run on this data.
    """
    rows = ["| model | chapter | validation accuracy |", "|:--|:--|--:|"]
    for name in CHAPTERS[: CHAPTERS.index(chapter) + 1]:
        try:
            steps = read(name)["ladder"]
        except FileNotFoundError:
            continue
        rows += [f"| {m} | {name[:2]} | {accuracy:.2f} % |" for m, accuracy in steps]
    return "\n".join(rows)


EARLIER = {"02_sklearn_baseline": 92.03, "04_neural_network": 97.12}
WORDS = {
    "README.md": (
        "| model | chapter | test accuracy | uncertainty | published before |",
        "{} seeds, spread {}",
        "95 % interval {} to {}",
        ".",
    ),
    "README.fr.md": (
        "| modèle | chapitre | exactitude sur le test | incertitude | publié avant |",
        "{} graines, écart-type {}",
        "intervalle à 95 % : {} à {}",
        ",",
    ),
}
FRENCH = {
    "logistic regression": "régression logistique",
    "ten neurons": "dix neurones",
    "784-64-10 network, plain recipe": "réseau 784-64-10, recette simple",
    "784-64-10 network, momentum, decay, weight decay": (
        "réseau 784-64-10, inertie et décroissances"
    ),
    "784-64-10 network, all five ideas, 30 epochs": (
        "réseau 784-64-10, les cinq idées, 30 époques"
    ),
    "LeNet-5": "LeNet-5",
    "AlexNet, one eighth as wide": "AlexNet, huit fois plus étroit",
}


def table(readme="README.md"):
    """The table of test results as Markdown, in the language of one of the READMEs.

    Each chapter's metrics hold "headlines": a list of {"model", "test", "seeds"} with
    "spread" (several seeds) or "low" and "high" (an interval), all in percent.
    """
    head, several, one, point = WORDS[readme]
    rows = [head, "|:--|:--|--:|:--|--:|"]
    for chapter in CHAPTERS:
        try:
            metrics = read(chapter)
        except FileNotFoundError:
            continue
        headlines = metrics["headlines"]
        for index, line in enumerate(headlines):
            number = {
                k: f"{line[k]:.2f}"
                for k in ("test", "spread", "low", "high")
                if k in line
            }
            spread = ""  # one seed, on the stand-in, says nothing of it
            if "low" in line:
                spread = one.format(number["low"], number["high"])
            elif line["seeds"] > 1:
                spread = several.format(line["seeds"], number["spread"])
            earlier = ""  # published for MNIST, so of no use beside other data
            if chapter in EARLIER and not index and metrics["data"] == "MNIST":
                earlier = f"{EARLIER[chapter]:.2f} %"
            model = line["model"] if point == "." else FRENCH[line["model"]]
            cells = f"| {number['test']} % | {spread} | {earlier} |".replace(".", point)
            link = f"[{chapter[:2]}](notebooks/{chapter}.ipynb)"
            rows.append(f"| {model} | {link} {cells}")
    return "\n".join(rows)


def minutes(chapter):
    """The time to read a chapter, at 100 words a minute, rounded to five minutes."""
    notebook = next((REPOSITORY / "notebooks").glob(f"{chapter}_*.ipynb"))
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    prose = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
    return 5 * round(len(" ".join(prose).split()) / 500)


def filled(name):
    """The text of a README, with its table and its reading times computed anew."""
    text = (REPOSITORY / name).read_text("utf-8")
    before, rest = text.split("<!-- results -->")
    after = rest.split("<!-- /results -->")[1]
    text = f"{before}<!-- results -->\n\n{table(name)}\n\n<!-- /results -->{after}"
    return re.sub(
        r"<!-- minutes (\d\d) -->[^|]*",
        lambda mark: f"<!-- minutes {mark[1]} -->{minutes(mark[1])} min ",
        text,
    )


def refresh():
    """Write the computed numbers into both READMEs."""
    for name in WORDS:
        (REPOSITORY / name).write_text(filled(name), "utf-8", newline="\n")


if __name__ == "__main__":
    if "--refresh" in sys.argv:
        refresh()
    print(f"Test accuracies on {mnist.source()}:\n\n{table()}")
