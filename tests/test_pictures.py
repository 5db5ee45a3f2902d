"""The diagrams in picture/ are what picture/draw.py draws."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from course import figures, results

FOLDER = Path(__file__).resolve().parents[1] / "picture"
NAMES = (
    "idx_layout",
    "one_neuron",
    "ten_neurons",
    "network_784_64_10",
    "convolution",
    "lenet",
    "alexnet",
    "banner",
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder into which the script has drawn everything."""
    folder = tmp_path_factory.mktemp("picture")
    command = [sys.executable, str(FOLDER / "draw.py"), str(folder)]
    subprocess.run(command, check=True, env=os.environ | {"MPLBACKEND": "agg"})
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_picture_is_drawn_by_the_script(drawn, name):
    kept, new = FOLDER / f"{name}.png", drawn / f"{name}.png"
    if name == "banner" and not new.exists():
        pytest.skip("the banner needs MNIST in data/raw and chapter 4's weights")
    assert Image.open(kept).size == Image.open(new).size
    held = figures.stored_contents(new)
    assert held and results.agree(figures.stored_contents(kept), held)


@pytest.mark.parametrize("name", NAMES)
def test_picture_is_sharp_and_readable_on_any_page(name):
    """Double resolution, and white paper everywhere but outside the round corners."""
    with Image.open(FOLDER / f"{name}.png") as picture:
        assert picture.width == 1600
        alpha = picture.convert("RGBA").getchannel("A")
    width, height = alpha.size
    assert alpha.crop((30, 5, width - 30, height - 5)).getextrema() == (255, 255)
    assert alpha.crop((5, 30, width - 5, height - 30)).getextrema() == (255, 255)


def test_nothing_else_is_kept():
    assert {file.stem for file in FOLDER.glob("*.png")} <= set(NAMES)
