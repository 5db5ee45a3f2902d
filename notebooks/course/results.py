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
    try:
        same = agree(value, json.loads(file.read_text("utf-8")))
    except (FileNotFoundError, ValueError):  # none yet, or a damaged one
        same = False
    if not same:
        file.write_text(text, "utf-8", newline="\n")
    return value


def write(chapter, metrics):
    """Store a chapter's numbers, with the name of the data, as its ``metrics.json``."""
    _write_json(path(f"{chapter}/metrics.json"), {"data": mnist.source(), **metrics})


def _runs(chapter):
    """Each folder that holds ``chapter``'s results on this data, with its numbers.

    This run's own comes first, then the one of the repository.
    """
    stored = STORED if mnist.source() == "MNIST" else STORED / "stand-in"
    for folder in (root(), stored):
        file = folder / chapter / "metrics.json"
        if file.exists():
            metrics = json.loads(file.read_text("utf-8"))
            if metrics["data"] == mnist.source():
                yield folder, metrics


def read(chapter):
    """The numbers that ``chapter`` wrote on the data of this run, as a dictionary.

    Raises FileNotFoundError, with what to do next, when that chapter has not been run.
    """
    for _, metrics in _runs(chapter):
        return metrics
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
    return stored(name)


def stored(name):
    """The numbers of a study ("chapter/study") as they are stored, for any chapter."""
    file = STORED / f"{name}.json"
    if not file.exists():
        raise FileNotFoundError(
            f"results/{name}.json is missing. It belongs to the repository: "
            f"`git checkout results` brings it back, `tasks.py render` makes it anew."
        )
    return json.loads(file.read_text("utf-8"))


def save_arrays(name, **arrays):
    """Save named arrays as ``name``.npz ("chapter/weights"), without pickle.

    A file that holds the same, to nine digits (float32: to six), is left as it is.
    """
    if any(array.dtype.hasobject for array in arrays.values()):
        raise ValueError(f"{name}: an array of objects would need pickle")
    file = path(f"{name}.npz")
    old = _arrays(file) or {}
    if old.keys() != arrays.keys() or not all(
        same_array(old[key], value) for key, value in arrays.items()
    ):
        np.savez(file, **arrays)


def _arrays(file):
    """The arrays in an .npz file, by name; None where it is missing or damaged."""
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = dict(content)
    except Exception:  # zipfile and NumPy have a dozen ways to say that it is damaged
        return None
    whole = all(isinstance(array, np.ndarray) for array in arrays.values())
    return arrays if whole else None


def same_array(old, new):
    """Whether two arrays have one dtype and shape, and agree up to rounding."""
    if old.dtype != new.dtype or old.shape != new.shape:
        return False
    if new.dtype.kind != "f":
        return np.array_equal(old, new)
    tolerance = 1e-6 if new.dtype == np.float32 else 1e-9
    return np.allclose(old, new, rtol=tolerance, atol=tolerance)


def load_arrays(name):
    """The arrays that ``save_arrays`` stored on the data of this run, by name.

    Raises FileNotFoundError or ValueError, with what to do next, when the chapter has
    not been run on this data, or when its file is missing or damaged.
    """
    chapter = name.split("/")[0]
    read(chapter)
    files = [folder / f"{name}.npz" for folder, _ in _runs(chapter)]
    file = next((file for file in files if file.exists()), files[-1])
    arrays = _arrays(file)
    if arrays is not None:
        return arrays
    help = f"Open notebooks/{chapter}.ipynb and run it"
    if mnist.source() == "MNIST":
        help += ", or bring the file back with `git checkout results`"
    if file.exists():
        raise ValueError(f"{_shown(file)} is damaged, or no file of arrays. {help}.")
    raise FileNotFoundError(f"{_shown(file)} is missing. {help}.")


def _shown(file):
    """The name of a file for a reader: seen from the repository, if it is in there."""
    inside = file.is_relative_to(REPOSITORY)
    return (file.relative_to(REPOSITORY) if inside else file).as_posix()


def save_start(chapter, parameters, rng):
    """Save where a training starts: its first parameters, and the generator after them.

    ``parameters`` are arrays in the order of the layers.  ``load_start`` gives a
    generator that goes on with the same random numbers.
    """
    state = json.dumps(rng.bit_generator.state, sort_keys=True)
    arrays = {f"P{index:02}": P for index, P in enumerate(parameters)}
    save_arrays(f"{chapter}/start", generator=np.array(state), **arrays)


def load_start(chapter):
    """The parameters that a chapter's training starts from, and its generator.

    Raises ValueError when the file does not hold them (see ``load_arrays`` also).
    """
    arrays = load_arrays(f"{chapter}/start")
    names = [f"P{index:02}" for index in range(len(arrays) - 1)]
    rng = np.random.default_rng()
    try:
        rng.bit_generator.state = json.loads(str(arrays["generator"]))
        return [arrays[name] for name in names], rng
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"start.npz of {chapter} holds {', '.join(sorted(arrays))}, which is not "
            f"the start of a training. Open notebooks/{chapter}.ipynb and run it."
        ) from None


CHAPTERS = (
    "01_idx_exploration",
    "02_sklearn_baseline",
    "03_single_neuron",
    "04_neural_network",
    "05_better_training",
    "06_convolution",
    "07_alexnet",
    "08_pytorch",
    "09_tensorflow",
    "10_speed",
)


def ladder(chapter):
    """The table of every model so far, with its validation accuracy, as Markdown.

    Each chapter's metrics hold "ladder": a list of [model, accuracy in percent].
    Chapters after ``chapter`` are left out, and so are those not run on this data.
    """
    rows = ["| model | chapter | validation accuracy |", "|:--|:--|--:|"]
    for name in CHAPTERS[: CHAPTERS.index(chapter) + 1]:
        try:
            steps = read(name).get("ladder", [])
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
        headlines = metrics.get("headlines", [])
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


TWELVE = {
    "README.md": (
        "| network | implementation | test accuracy | seconds per epoch, relative to "
        "the fastest | parameters |"
    ),
    "README.fr.md": (
        "| réseau | implémentation | exactitude sur le test | secondes par époque, "
        "relatives au plus rapide | paramètres |"
    ),
}


def _number(value, digits, point):
    """A number with a decimal point and commas, or a decimal comma and thin spaces."""
    text = f"{value:,.{digits}f}"
    return text if point == "." else text.replace(",", "\u202f").replace(".", ",")


def twelve(readme="README.md"):
    """The table of all twelve networks as Markdown, in the language of a README.

    Chapter 10's metrics hold "twelve": a list of {"network", "implementation", "test",
    "spread", "seeds", "relative", "parameters", "lines"}.  Empty where there are none.
    """
    try:
        lines = read("10_speed")["twelve"]
    except (FileNotFoundError, KeyError):
        return ""
    _, several, _, point = WORDS[readme]
    rows = [TWELVE[readme], "|:--|:--|:--|--:|--:|"]
    for line in lines:
        names = [line["network"], line["implementation"]]
        if point == ",":
            names = [FRENCH.get(name, name) for name in names]
        accuracy = f"{_number(line['test'], 2, point)} %"
        if line["seeds"] > 1:
            spread = _number(line["spread"], 2, point)
            accuracy += f" ({several.format(line['seeds'], spread)})"
        relative = _number(line["relative"], 1, point)
        cells = [accuracy, relative, _number(line["parameters"], 0, point)]
        rows.append(f"| {' | '.join(names + cells)} |")
    return "\n".join(rows)


def minutes(chapter):
    """The time to read a chapter, at 100 words a minute, rounded to five minutes."""
    notebook = next((REPOSITORY / "notebooks").glob(f"{chapter}_*.ipynb"))
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    prose = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
    return 5 * round(len(" ".join(prose).split()) / 500)


def filled(name):
    """The text of a README, with its tables and its reading times computed anew."""
    text = (REPOSITORY / name).read_text("utf-8")
    for mark, rows in (("results", table(name)), ("twelve", twelve(name))):
        if f"<!-- {mark} -->" in text:
            before, rest = text.split(f"<!-- {mark} -->")
            after = rest.split(f"<!-- /{mark} -->")[1]
            text = f"{before}<!-- {mark} -->\n\n{rows}\n\n<!-- /{mark} -->{after}"
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
