"""Where jobs run: processes of this machine, one per slot; a slot is a share of the cores, or a GPU."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

from medcl.errors import RunError

GOODBYE_SECONDS = 10.0
_STOP: int = signal.SIGINT if os.name == "posix" else getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)


class Pool(Protocol):
    """Where jobs run."""

    slots: int

    def start(self, folder: Path) -> None:
        """Start the job in a folder; there must be a free slot."""
        ...

    def ended(self, seconds: float) -> list[tuple[Path, int]]:
        """Return folder and exit code of each job that ended, waiting at most so long for the first."""
        ...

    def stop(self) -> None:
        """Interrupt all jobs; they save and end."""
        ...

    def close(self) -> None:
        """End everything, at once where jobs still run."""
        ...


def machine_slots() -> tuple[int, int]:
    """Return how many jobs the machine takes at once by itself, and its number of GPUs."""
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return gpus or cores, gpus


class LocalPool:
    """Processes of this machine.

    Args:
        out: The benchmark's folder.
        slots: Jobs at a time.
        gpus: GPUs to share among them, one after the other.
        fork: Start jobs from one process that has everything imported; default: where the system can.
    """

    def __init__(self, out: Path, slots: int, *, gpus: int = 0, fork: bool = hasattr(os, "fork")) -> None:
        self.out, self.slots, self.gpus = out, slots, gpus
        self._gpu_of: dict[Path, int] = {}
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._single: dict[Path, subprocess.Popen[bytes]] = {}
        self._server = self._serve() if fork else None

    def _environment(self) -> dict[str, str]:
        # Two threads per job where jobs share the cores are many times slower than one.
        return {**os.environ, **({"OMP_NUM_THREADS": "1"} if self.slots > 1 else {})}

    def _serve(self) -> subprocess.Popen[bytes]:
        server = subprocess.Popen(
            [sys.executable, "-m", "medcl.benchmark.worker", "--serve", str(self.out), str(self.slots)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment(),
            start_new_session=True,
        )

        def listen() -> None:
            assert server.stdout is not None
            for line in server.stdout:
                self._events.put(json.loads(line))
            self._events.put({"gone": True})

        threading.Thread(target=listen, daemon=True).start()
        return server

    def start(self, folder: Path) -> None:
        """Start the job in a folder."""
        env: dict[str, str] = {}
        if self.gpus:
            busy = Counter(self._gpu_of.values())
            self._gpu_of[folder] = min(range(self.gpus), key=lambda gpu: busy[gpu])
            env["CUDA_VISIBLE_DEVICES"] = _device(self._gpu_of[folder])
        if self._server is not None:
            self._order({"folder": str(folder), "env": env})
            return
        self._single[folder] = subprocess.Popen(
            [sys.executable, "-m", "medcl.benchmark.worker", str(self.out), str(folder), str(self.slots)],
            stdin=subprocess.DEVNULL,
            env={**self._environment(), **env},
            **_own_group(),
        )

    def _order(self, order: dict[str, Any]) -> None:
        assert self._server is not None
        assert self._server.stdin is not None
        try:
            self._server.stdin.write(json.dumps(order).encode() + b"\n")
            self._server.stdin.flush()
        except BrokenPipeError:
            raise RunError("the process that starts jobs has ended; see the messages above.") from None

    def ended(self, seconds: float) -> list[tuple[Path, int]]:
        """Return folder and exit code of each job that ended."""
        found: list[tuple[Path, int]] = []
        with contextlib.suppress(queue.Empty):
            while True:
                event = self._events.get(timeout=0 if found else seconds)
                if "gone" in event:
                    raise RunError("the process that starts jobs has ended; see the messages above.")
                if "folder" in event:
                    found.append((Path(event["folder"]), int(event["code"])))
        for folder, process in list(self._single.items()):
            if process.poll() is not None:
                found.append((folder, process.returncode))
                del self._single[folder]
        for folder, _ in found:
            self._gpu_of.pop(folder, None)
        return found

    def stop(self) -> None:
        """Interrupt all jobs; they save and end."""
        if self._server is not None:
            self._order({"stop": True})
        for process in self._single.values():
            process.send_signal(_STOP)

    def close(self) -> None:
        """End everything; a job that still runs goes on to its next checkpoint and ends by itself."""
        for process in self._single.values():
            process.terminate()
        if self._server is not None and self._server.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._server.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(GOODBYE_SECONDS)


def _device(gpu: int) -> str:
    """Return the name of a GPU among those this process may use."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return visible[gpu] if visible else str(gpu)


def _own_group() -> dict[str, Any]:
    if os.name == "posix":
        return {"start_new_session": True}
    return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
