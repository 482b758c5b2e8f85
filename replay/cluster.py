"""Workers on a Dask cluster: the same units, the same results. Needs the extra ``ptpool[cluster]``.

What units share is a file on this machine; workers of other hosts, which do not see it, get a copy under the same path.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptpool.errors import UsageError
from ptpool.provenance import code_version
from replay.execute import S, Shared, Workers, local_workers

_PATIENCE_S = 10


class _ClusterWorkers(Workers):
    def __init__(self, client: Any, folder: Path) -> None:
        super().__init__(client.get_executor, folder, sum(client.nthreads().values()))
        self._client = client

    def share(self, value: S) -> Shared[S]:
        shared = super().share(value)
        path = str(shared.path)
        blind = [worker for worker, sees in self._client.run(os.path.exists, path).items() if not sees]
        if blind:
            self._client.run(_receive, path, Path(path).read_bytes(), workers=blind)
        return shared

    def forget(self, shared: Shared[S]) -> None:
        _remove(str(shared.path))
        self._client.run(_remove, str(shared.path))

    def close(self) -> None:
        self._executor.shutdown(wait=False)


@contextmanager
def workers_of(executor: str, jobs: int) -> Iterator[Workers]:
    """Workers by the name of their executor: ``local``, or ``dask:ADDRESS``.

    Raises:
        UsageError: there is no such executor.
    """
    kind, _, address = executor.partition(":")
    if kind == "dask" and address:
        with _cluster_workers(address) as workers:
            yield workers
    elif executor == "local":
        with local_workers(jobs) as workers:
            yield workers
    else:
        raise UsageError(f"--executor {executor}: no such executor", "local, or dask:ADDRESS of a scheduler")


@contextmanager
def _cluster_workers(address: str) -> Iterator[Workers]:
    """The workers of the cluster whose scheduler listens at this address.

    Raises:
        UsageError: Dask is not installed here, no scheduler answers, or its workers are none, or have another ptpool.
    """
    name = f"--executor dask:{address}"
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(f"{name}: Dask is not installed", "pip install 'ptpool[cluster]'") from error
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
            raise UsageError(f"{name}: a scheduler without workers", f"start some: dask worker {address}")
        for worker, version in versions.items():
            if version != code_version():
                raise UsageError(f"{name}: {worker} has ptpool {version}, not {code_version()}", "install the same one")
        workers = _ClusterWorkers(client, Path(folder))
        try:
            yield workers
        finally:
            workers.close()


def _receive(path: str, content: bytes) -> None:
    """A file from another host; several workers of one may write it at a time."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(target)


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)
