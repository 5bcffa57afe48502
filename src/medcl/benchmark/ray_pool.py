"""Jobs on the machines of a Ray cluster that share a disk; needs `pip install 'medcl[ray]'`."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from medcl.benchmark.work import FAILED, LOG, STOPPED
from medcl.errors import MissingExtraError, RunError


def do_job_there(out: str, folder: str, parallel: int) -> int:
    """Run a job on whatever machine this is called on, and return its exit code."""
    if not Path(folder, "job.json").exists():
        raise RunError(f"{folder}: not there on this machine; give --out on a disk that all machines share.")
    command = [sys.executable, "-m", "medcl.benchmark.worker", out, folder, str(parallel)]
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:  # how Ray cancels: the job saves and ends
        process.send_signal(signal.SIGINT)
        return process.wait()


class RayPool:
    """A Ray cluster; each job takes one CPU, and one GPU where the cluster has any.

    Args:
        out: The benchmark's folder, on a disk that all machines share.
        address: 'auto' (the cluster this machine belongs to), 'local' (start one here) or host:port.
        slots: Jobs at a time; default: as many as there are GPUs, or CPUs.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, out: Path, address: str, *, slots: int | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtraError("ray", "ray", "--ray") from None
        self._ray: Any = ray
        self.out = out
        try:
            ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise RunError(
                f"--ray {address}: no cluster could be reached ({error}); start one with: ray start --head"
            ) from None
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        self.slots = slots or gpus or max(1, int(resources.get("CPU", 1)))
        # A job that was lost with its machine is found unfinished, and the next call goes on with it.
        self._task = ray.remote(do_job_there).options(num_cpus=1, num_gpus=1 if gpus else 0, max_retries=0)
        self._running: dict[Any, Path] = {}
        self._stopping = False

    def start(self, folder: Path) -> None:
        """Start the job in a folder."""
        self._running[self._task.remote(str(self.out), str(folder), self.slots)] = folder

    def ended(self, seconds: float) -> list[tuple[Path, int]]:
        """Return folder and exit code of each job that ended."""
        found = []
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds) if self._running else ([], [])
        for task in ready:
            folder = self._running.pop(task)
            try:
                found.append((folder, int(self._ray.get(task))))
            except Exception as error:  # of the other machine, of whatever kind
                with (folder / LOG).open("a", encoding="utf-8") as log:
                    log.write(f"{error}\n")
                found.append((folder, STOPPED if self._stopping else FAILED))
        return found

    def stop(self) -> None:
        """Interrupt all jobs: each gets a SIGINT through Ray and saves."""
        self._stopping = True
        for task in self._running:
            self._ray.cancel(task, force=False)

    def close(self) -> None:
        """Let go of the cluster."""
        self._ray.shutdown()
