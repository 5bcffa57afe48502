"""Choose device, precision, memory layout and threads, and say why."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass

import torch

from medcl.errors import RunError
from medcl.inference.engines import device_has_bf16
from medcl.settings import TrainSettings


@dataclass(frozen=True)
class Hardware:
    """Where and how to compute.

    Attributes:
        accelerator: Lightning's word: cpu, cuda or mps.
        devices: Number of devices.
        precision: Lightning's word: bf16-mixed or 32-true.
        channels_last: Whether tensors lie channels-last in memory.
        threads: CPU threads of torch.
        reasons: One sentence per choice.
    """

    accelerator: str
    devices: int
    precision: str
    channels_last: bool
    threads: int
    reasons: tuple[str, ...]

    @property
    def device(self) -> torch.device:
        """The torch device of the first worker."""
        return torch.device(self.accelerator)


def choose_hardware(settings: TrainSettings) -> Hardware:
    """Turn `auto` into choices for this machine.

    Raises:
        RunError: A device was asked for that is not there.
    """
    reasons = []
    found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    accelerator = found if settings.device == "auto" else settings.device
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise RunError("device: cuda was asked for, but torch finds no CUDA device; use device=auto or device=cpu.")
    if settings.device == "mps" and not torch.backends.mps.is_available():
        raise RunError("device: mps was asked for, but torch finds no Apple GPU; use device=auto or device=cpu.")
    reasons.append(f"device {accelerator}: {'asked for' if settings.device != 'auto' else 'the fastest found'}")
    if accelerator == "cuda" and settings.devices > torch.cuda.device_count():
        raise RunError(f"devices: {settings.devices} GPUs were asked for, {torch.cuda.device_count()} are there.")
    if accelerator == "mps" and settings.devices > 1:
        raise RunError(f"devices: an Apple machine has one GPU, {settings.devices} were asked for.")

    bf16, why = _bf16(accelerator)
    if settings.precision == "bf16":
        precision, why = "bf16-mixed", "asked for"
    elif settings.precision == "fp32":
        precision, why = "32-true", "asked for"
    else:
        precision = "bf16-mixed" if bf16 else "32-true"
    reasons.append(f"precision {precision}: {why}")

    channels_last = settings.channels_last if settings.channels_last is not None else accelerator != "mps"
    usual = (
        "faster with batch norm (measured)" if channels_last else "the plain layout is the safe choice on Apple GPUs"
    )
    why = "asked for" if settings.channels_last is not None else usual
    reasons.append(f"channels-last {'on' if channels_last else 'off'}: {why}")

    threads, why = _threads(settings.threads)
    reasons.append(f"{threads} CPU thread{'s' if threads > 1 else ''}: {why}")
    return Hardware(accelerator, settings.devices, precision, channels_last, threads, tuple(reasons))


def _bf16(accelerator: str) -> tuple[bool, str]:
    if accelerator == "mps":
        return False, "fp32 is the safe choice on Apple GPUs"
    fast = device_has_bf16(torch.device(accelerator))
    if accelerator == "cuda":
        return fast, "the GPU has bf16" if fast else "the GPU has no bf16"
    return fast, "the processor has bf16 instructions" if fast else "the processor has no bf16 instructions"


def _threads(asked: int | None) -> tuple[int, str]:
    """Two threads on a busy core are many times slower than one (barriers wait for the descheduled thread)."""
    if asked is not None:
        return asked, "asked for"
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads(), "set by OMP_NUM_THREADS"
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = psutil.cpu_percent(interval=0.5) / 100 * (os.cpu_count() or 1)
    free = max(1, cores - round(busy))
    if free < cores:
        return free, f"{cores} cores, about {busy:.1f} of them busy with other work"
    return cores, "all cores, the machine is idle"


def is_first_process() -> bool:
    """Whether this process writes files: the only one, or the first of a distributed training.

    Launchers say which process is which in the environment: torchrun and srun by its number among all; Lightning, which
    runs the same program again for each further GPU, by machine and by GPU.
    """
    for name in ("RANK", "SLURM_PROCID"):
        if os.environ.get(name, "").isdecimal():
            return int(os.environ[name]) == 0
    return int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0


def keep_buffers() -> bool:
    """Tell glibc to keep large buffers instead of returning them to the system at every step.

    Measured 12-25 % off a training step on CPU. Does nothing outside glibc.

    Returns:
        Whether the allocator took the settings.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL("libc.so.6")
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    accepted = [libc.mallopt(mmap_max, 0), libc.mallopt(trim_threshold, 2**31 - 1), libc.mallopt(top_pad, 64 * 2**20)]
    return all(accepted)
