"""What made a result: versions of the programs and the kind of machine, without names of hosts, people or folders."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "lightning", "monai", "numpy", "scipy", "SimpleITK", "openvino", "onnxruntime", "matplotlib")
"""Packages that can change a number; those that are not installed are left out."""


def versions() -> dict[str, str]:
    """Return the versions of medcl, Python and the installed `PACKAGES`; nothing is imported for it."""
    from medcl import __version__

    found = {"medcl": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def code_version() -> dict[str, Any]:
    """Return the git commit of the running code, and whether the code differs from it.

    Returns:
        `commit` (12 digits) and `changed` (bool); both None where medcl was installed, or git is not there.
    """
    package = Path(__file__).resolve().parents[1]
    unknown: dict[str, Any] = {"commit": None, "changed": None}
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:  # another project's checkout around us
        return unknown
    commit = _git(package, "rev-parse", "--short=12", "HEAD")
    changes = _git(package, "status", "--porcelain", "--", ".")
    return (
        unknown if commit is None or changes is None else {"commit": commit.strip(), "changed": bool(changes.strip())}
    )


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "--no-optional-locks", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def machine() -> dict[str, str]:
    """Return the kind of machine: operating system, processor, usable cores, memory and GPU.

    The GPU is named only where torch is loaded already: asking would load it.
    """
    facts = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(_cores()),
    }
    memory = _memory_gb()
    if memory:
        facts["memory"] = f"{memory:.0f} GB"
    torch = sys.modules.get("torch")
    if torch is not None:
        facts["threads"] = str(torch.get_num_threads())
        if torch.cuda.is_available():
            facts["gpu"] = str(torch.cuda.get_device_name())
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    """Return the cores this process may use, which in a container are fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _memory_gb() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, OSError, ValueError):  # not POSIX
        return None
