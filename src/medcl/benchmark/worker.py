"""A process that does one job: `python -m medcl.benchmark.worker OUT FOLDER PARALLEL`.

With `--serve OUT PARALLEL` it reads lines of JSON from stdin, `{"folder": ..., "env": {...}}`, and does each job in a
process of its own that starts in a fraction of a second, because everything heavy is imported already. It writes
`{"folder": ..., "code": ...}` for each that ended. `{"stop": true}`, or the end of stdin, interrupts all jobs.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medcl.benchmark.jobs import Job
from medcl.benchmark.work import BUSY, DONE, FAILED, FAILURE, LOG, PROGRESS, STOPPED, Stopped, do_job, finished
from medcl.errors import MedclError
from medcl.files import TEMPORARY_PREFIX, read_json, write_json

PROGRESS_SECONDS = 2.0


def load(folder: Path) -> tuple[Any, Callable[[Any, Path], bool], Callable[..., None]]:
    """Return the job in a folder, how to tell that it is finished, and how to do it."""
    if read_json(folder / "job.json").get("kind") == "annotation":
        from medcl.benchmark.simulation import work as simulation
        from medcl.benchmark.simulation.jobs import AnnotationJob

        return AnnotationJob.load(folder), simulation.finished, simulation.do_job
    return Job.load(folder), finished, do_job


def work(out: Path, folder: Path, parallel: int) -> int:
    """Do the job in a folder and return an exit code; what went wrong is in its `failure.json`."""
    told = 0.0

    def report(doing: str, share: float, left: float | None) -> None:
        nonlocal told
        if time.monotonic() - told < PROGRESS_SECONDS and share:
            return
        told = time.monotonic()
        temporary = folder / f"{TEMPORARY_PREFIX}{PROGRESS}"  # no sync: what is lost is no loss
        temporary.write_text(
            json.dumps({"doing": doing, "share": share, "seconds_left": left, "pid": os.getpid()}), encoding="utf-8"
        )
        os.replace(temporary, folder / PROGRESS)

    try:
        with FileLock(folder / ".lock", timeout=0):
            job, is_finished, do = load(folder)
            if not is_finished(job, out):
                (folder / FAILURE).unlink(missing_ok=True)
                do(job, out, report, parallel=parallel)
            return DONE
    except Timeout:
        return BUSY
    except (Stopped, KeyboardInterrupt):
        return STOPPED
    except Exception as error:  # one job, whatever is wrong with it, must not cost the others
        words = str(error).strip().splitlines() or [""]
        expected = isinstance(error, MedclError)
        reason = str(error) if expected else f"unexpected {type(error).__name__}: {words[0]}"
        traceback.print_exc()
        write_json(folder / FAILURE, {"reason": reason, "trace": "" if expected else traceback.format_exc()})
        return FAILED


def serve(out: Path, parallel: int) -> None:
    """Start a process per line of stdin until it ends; POSIX only."""
    import medcl.inference.model
    import medcl.training.run  # noqa: F401 - imported once for all jobs

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # whoever started this decides; see LocalPool.stop
    children: dict[int, str] = {}
    stream, rest, ended = sys.stdin.fileno(), b"", False
    print(json.dumps({"ready": True}), flush=True)
    while not ended or children:
        if ended:
            time.sleep(0.1)
        elif select.select([stream], [], [], 0.1)[0]:
            chunk = os.read(stream, 65536)
            ended = not chunk
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                order = json.loads(line)
                if "stop" in order:
                    _interrupt(children)
                else:
                    children[_fork(out, order, parallel)] = order["folder"]
            if ended:  # whoever started this is gone
                _interrupt(children)
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            print(json.dumps({"folder": children.pop(pid), "code": os.waitstatus_to_exitcode(status)}), flush=True)


def _interrupt(children: dict[int, str]) -> None:
    for pid in children:
        os.kill(pid, signal.SIGINT)


def _fork(out: Path, order: dict[str, Any], parallel: int) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))  # none may get lost before the child can take it
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
        return child
    code = FAILED
    try:
        os.setpgid(0, 0)  # Ctrl-C in the terminal reaches the one who started this, who passes it on once
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
        os.environ.update(order["env"])
        redirect(Path(order["folder"]))
        code = work(out, Path(order["folder"]), parallel)
    except KeyboardInterrupt:
        code = STOPPED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def redirect(folder: Path) -> None:
    """Send everything that is printed to the job's log, and give it nothing to read."""
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(null)


def main() -> None:
    """Run the command line."""
    if sys.argv[1] == "--serve":
        serve(Path(sys.argv[2]), int(sys.argv[3]))
        return
    out, folder, parallel = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    redirect(folder)
    sys.exit(work(out, folder, parallel))


if __name__ == "__main__":
    main()
