"""The tests import the course as its notebooks do: from the folder notebooks/."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))
# a shell's background job ignores Ctrl-C and hands that on; the tests send some
signal.signal(signal.SIGINT, signal.default_int_handler)
