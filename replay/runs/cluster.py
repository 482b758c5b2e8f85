"""Workers on a Dask cluster: the same units, the same results. Needs the extra ``ptpool[cluster]``.

What units share is a file on this machine; workers of other hosts, which do not see it, get a copy under the same path.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from ptpool.errors import UsageError
from ptpool.files import write_whole
from ptpool.provenance import code_version
from replay.runs.workers import Failure, R, S, Shared, Workers, local_workers

_PATIENCE_S = 10


class _ClusterWorkers(Workers):
    """Workers that may come and go at any time; Dask gives the units of a lost one to others."""

    def __init__(self, client: Any, folder: Path, name: str) -> None:
        super().__init__(client.get_executor, folder, sum(client.nthreads().values()))
        self._client, self._name = client, name

    def share(self, value: S) -> Shared[S]:
        shared = super().share(value)
        assert shared.path is not None
        blind = [worker for worker, sees in self._everywhere(os.path.exists, shared.path).items() if sees is False]
        if blind:  # several workers of another host may write it at the same time
            self._everywhere(write_whole, shared.path, shared.path.read_bytes(), workers=blind)
        return shared

    def forget(self, shared: Shared[S]) -> None:
        super().forget(shared)
        self._everywhere(Path.unlink, shared.path, True)

    def _everywhere(self, function: Callable[..., Any], *args: Any, workers: list[str] | None = None) -> dict[str, Any]:
        """What a function returns, or raises, on each worker; a worker that is lost meanwhile is left out."""
        try:
            results: dict[str, Any] = self._client.run(function, *args, workers=workers, on_error="return")
        except (OSError, ValueError) as error:  # ValueError: of a client that has closed
            raise self._lost("the scheduler") from error
        return results

    def _next(self, ended: "SimpleQueue[Future[R | Failure]]") -> "Future[R | Failure]":
        """Wait for a unit; a client that has lost its scheduler cancels all of them.

        Raises:
            UsageError: the scheduler is lost, or all its workers, and none comes back.
        """
        left = _PATIENCE_S
        while left:
            try:
                future = ended.get(timeout=1)
            except Empty:
                left = _PATIENCE_S if self._everywhere(os.getpid) else left - 1
                continue
            if future.cancelled():
                raise self._lost("the scheduler")
            return future
        raise self._lost("all workers")

    def _lost(self, what: str) -> UsageError:
        return UsageError(f"{self._name}: {what} of the cluster went away", "see what ended it, and start it again")

    def close(self) -> None:
        self._executor.shutdown(wait=False)


def workers_of(executor: str, jobs: int) -> AbstractContextManager[Workers]:
    """Workers by the name of their executor: ``local``, or ``dask:ADDRESS``.

    Raises:
        UsageError: there is no such executor.
    """
    kind, _, address = executor.partition(":")
    if kind == "dask" and address:
        return _cluster_workers(address)
    if executor == "local":
        return local_workers(jobs)
    raise UsageError(f"--executor {executor}: no such executor", "choose local, or dask:ADDRESS of a scheduler")


@contextmanager
def _cluster_workers(address: str) -> Iterator[Workers]:
    """The workers of the cluster whose scheduler listens at this address.

    Raises:
        UsageError: Dask is not installed, no scheduler answers, or it has no workers or some with another ptpool.
    """
    name = f"--executor dask:{address}"
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(f"{name}: Dask is not installed", "pip install 'ptpool[cluster]'") from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is reported here
    try:
        client = Client(address, timeout=_PATIENCE_S, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{name}: no cluster there ({reason})", "start one: dask scheduler, dask worker") from error
    with client, tempfile.TemporaryDirectory(prefix="ptpool-") as folder:
        try:
            versions = client.run(code_version)
        except ImportError as error:
            raise UsageError(f"{name}: its workers have no ptpool ({error})", "install this ptpool there") from error
        if not versions:
            raise UsageError(f"{name}: the scheduler has no workers", f"start some: dask worker {address}")
        for worker, version in versions.items():
            if version != code_version():
                raise UsageError(f"{name}: {worker} has ptpool {version}, not {code_version()}", "install the same one")
        with closing(_ClusterWorkers(client, Path(folder), name)) as workers:
            yield workers
