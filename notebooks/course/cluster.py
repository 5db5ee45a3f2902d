"""Where joblib's tasks run: in processes of this machine, or on a Dask cluster."""

import contextlib
import logging
import multiprocessing
import os
from concurrent.futures import CancelledError

import joblib

from . import extras

PATIENCE = 10  # seconds in which a scheduler must answer, and a worker be there


class Lost(ConnectionError):
    """A scheduler does not answer; shown as one sentence, no traceback."""

    def __init__(self, address, what):
        super().__init__(
            f"The scheduler at {address} {what}. Nothing that was stored has changed. "
            f"Start the scheduler and its workers anew (the README says how), or leave "
            f"the address out: then the processes of this machine do the work."
        )

    def _render_traceback_(self):  # what IPython shows in place of a traceback
        return [str(self)]


@contextlib.contextmanager
def workers(address=None, *files):
    """Within this block joblib runs its tasks here, or on the cluster at ``address``.

    Without an address there is one process for each core of this machine; with that of
    a Dask scheduler ("tcp://192.168.1.10:8786") its workers do the tasks, and get the
    ``files`` (modules that the tasks import) first.  Gives the number of workers; where
    there is a single one, joblib does the tasks itself.
    Raises Lost when the scheduler does not answer, has no worker, or is lost before the
    tasks have ended, and course.extras.Unavailable when Dask is not installed.  A task
    that the workers cannot even read is waited for as long as ``joblib.Parallel`` is
    told to (``timeout``, in seconds); then Lost says so.
    """
    if not address:
        count = os.cpu_count() or 1
        with joblib.parallel_config("loky", n_jobs=count, inner_max_num_threads=1):
            yield count
        return
    distributed = extras.need("distributed")
    for name in ("distributed.client", "distributed.utils"):  # Lost says it
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        distributed.comm.get_address_host_port(address)  # is it an address at all?
        client = distributed.Client(address, timeout=PATIENCE)
    except ValueError as reason:
        raise Lost(address, f"cannot be asked ({reason})") from None
    except OSError:
        raise Lost(address, f"did not answer within {PATIENCE} seconds") from None
    what = f"had no worker for {PATIENCE} seconds"
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
        for file in files:
            client.upload_file(str(file))
        what = "gave back no result in time: its workers may lack a package"
        with joblib.parallel_config("dask"):
            yield sum(client.nthreads().values())
    except (TimeoutError, multiprocessing.TimeoutError):  # Dask's, and joblib's
        raise Lost(address, what) from None
    except (CancelledError, distributed.comm.CommClosedError):
        raise Lost(address, "was lost before the work was done") from None
    finally:
        client.close(timeout=1)
