"""Sweeps on a cluster of which a process is killed at a random moment: no finished run is lost, and the tables stay the same."""

import threading

import pytest
from toy_sweep import RUNS, goes_on, kill, shards_in, start, wait_for_shards

from ptpool.cli import run

pytestmark = pytest.mark.slow


class Cluster:
    """A scheduler and workers on the loopback; `up` starts those that are not running."""

    def __init__(self, folder):
        self.folder, self.file = folder, folder / "scheduler.json"
        self.scheduler, self.workers = None, []

    def up(self, workers):
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.file.unlink(missing_ok=True)
            self.down()
            options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file)]
            self.scheduler = start(["distributed.cli.dask_scheduler", *options])
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        options = ["--scheduler-file", str(self.file), "--no-nanny", "--nthreads", "1", "--no-dashboard"]
        options += ["--local-directory", str(self.folder)]
        while len(self.workers) < workers:
            self.workers.append(start(["distributed.cli.dask_worker", *options]))

    def down(self):
        for process in [self.scheduler, *self.workers]:
            if process is not None and process.returncode is None:
                kill(process)
        self.workers = []


@pytest.fixture(scope="module")
def loopback(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.down()


@pytest.fixture
def cluster(loopback, request):
    """The cluster, up, with as many workers as the test says (2); and the option that names it."""
    distributed = pytest.importorskip("distributed")
    loopback.up(workers := getattr(request, "param", 2))
    with distributed.Client(scheduler_file=str(loopback.file), set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=30)
        loopback.options = ["--executor", f"dask:{client.scheduler.address}"]
    return loopback


def killed_at(moment, out, process):
    """Kill a process when so many runs have finished, while this one does the sweep."""

    def wait_and_kill():
        wait_for_shards(out, moment)
        kill(process)

    thread = threading.Thread(target=wait_and_kill, daemon=True)
    thread.start()
    return thread


def test_a_sweep_goes_on_when_its_process_is_killed(sweep, swept, moment, cluster):
    command, path, out = sweep
    process = start(["ptpool", *command, *cluster.options])
    wait_for_shards(out, moment, lambda: process.poll() is None)
    kill(process)
    assert moment <= len(shards_in(out)) < RUNS
    goes_on(swept, [*command, *cluster.options], path, out)


def test_a_sweep_goes_on_when_a_worker_is_killed(sweep, swept, moment, cluster):
    command, path, out = sweep
    thread = killed_at(moment, out, cluster.workers[0])
    goes_on(swept, [*command, *cluster.options], path, out)
    thread.join()


@pytest.mark.parametrize("cluster", [1], indirect=True)
@pytest.mark.parametrize("whom", ["all workers", "the scheduler"])
def test_a_cluster_that_goes_away_is_told(sweep, swept, moment, cluster, capsys, monkeypatch, whom):
    command, path, out = sweep
    monkeypatch.setattr("replay.runs.cluster._PATIENCE_S", 1)
    victims = [cluster.scheduler] if whom == "the scheduler" else cluster.workers
    threads = [killed_at(moment, out, victim) for victim in victims]
    assert run([*command, *cluster.options]) == 2
    for thread in threads:
        thread.join()
    what, _, kept = map(str.strip, capsys.readouterr().err.splitlines())
    assert what == f"ptpool: {' '.join(cluster.options)}: {whom} of the cluster went away"
    assert kept == f"{len(shards_in(out))} finished runs are kept in {out}; run the same command again to make the rest"
    goes_on(swept, command, path, out)
