"""What runs the network: torch on any device, or OpenVINO on a CPU. Which one, and why, is always on record.

An engine maps a float32 batch (N, C, *S) to logits (N, classes, *S). Fast arithmetic (bf16, another library) is used
only after it agreed with plain torch fp32 on the first image of each size that comes: see `agreement`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from medcl.errors import MissingExtraError, ModelError, SettingsError, unknown_name

EngineName = Literal["auto", "torch", "openvino"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "bf16", "fp32"]

LEAST_AGREEMENT = 0.999
"""Share of pixels in which a fast engine must choose the class that torch fp32 chooses."""

TIE = 0.01
"""Pixels whose two best classes are closer than this in probability are ties: bf16 (8 bits) cannot settle them."""

_log = logging.getLogger("medcl")


class Engine(Protocol):
    """Runs a network.

    Attributes:
        name: What runs, in words: library, arithmetic, device.
        device: Where batches are best put before the call, and where logits come out.
    """

    name: str
    device: torch.device

    def __call__(self, batch: Tensor) -> Tensor:
        """Map (N, C, *S) float32 to logits (N, classes, *S)."""
        ...


class EngineUnusableError(ModelError):
    """An engine cannot be built or does not agree with torch; another one may do."""


def agreement(logits: Tensor, reference: Tensor) -> float:
    """Return the share of pixels in which two sets of logits (N, classes, *S) choose the same class.

    Pixels that the reference leaves undecided (see `TIE`) count as agreeing.
    """
    probabilities = torch.softmax(reference.float(), dim=1)
    chosen = logits.to(reference.device).argmax(1) == probabilities.argmax(1)
    if reference.shape[1] > 1:
        best = probabilities.topk(2, dim=1).values
        chosen |= (best[:, 0] - best[:, 1]) < TIE
    return float(chosen.float().mean())


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use this many CPU threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class TorchEngine:
    """Runs the module itself.

    Args:
        network: Module in eval mode; moved to `device`.
        device: Where to run.
        precision: "bf16" uses autocast.

    Runs with the number of CPU threads that torch had when the engine was made.
    """

    def __init__(self, network: nn.Module, device: torch.device, precision: Literal["bf16", "fp32"]) -> None:
        self.device = device
        self.precision = precision
        self.network = network.to(device)
        self.threads = torch.get_num_threads()
        self.name = f"torch {precision} on {device.type}"

    def __call__(self, batch: Tensor) -> Tensor:
        """Map (N, C, *S) float32 to logits (N, classes, *S)."""
        batch = batch.to(self.device)
        cast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with torch_threads(self.threads), torch.no_grad(), cast:
            return self.network(batch)


class ChannelsLastEngine(TorchEngine):
    """Torch with channels as the fastest axis: what bf16 convolutions like on CPUs and GPUs."""

    def __init__(self, network: nn.Module, device: torch.device, precision: Literal["bf16", "fp32"]) -> None:
        super().__init__(network, device, precision)
        self.name = f"torch {precision} channels-last on {device.type}"
        self._laid_out = False

    def __call__(self, batch: Tensor) -> Tensor:
        """Map (N, C, *S) float32 to logits (N, classes, *S)."""
        layout = torch.channels_last if batch.ndim == 4 else torch.channels_last_3d
        if not self._laid_out:
            self.network.to(memory_format=layout)  # type: ignore[call-overload]  # missing in torch's own annotations
            self._laid_out = True
        return super().__call__(batch.contiguous(memory_format=layout))


class OpenVinoEngine:
    """Runs the network compiled by OpenVINO, once per image size; any batch size.

    A batch is shared out among streams of one thread each: as fast as all threads on one image after the other where
    the machine is idle, and far faster where it is not, since no thread waits for another within a layer.

    Args:
        network: Module in eval mode, on the CPU.
        precision: "bf16" where the processor has it, else "fp32".
        threads: CPU threads.
    """

    def __init__(self, network: nn.Module, precision: Literal["bf16", "fp32"], threads: int) -> None:
        self.device = torch.device("cpu")
        self.name = f"OpenVINO {precision} on cpu"
        self._network = network
        self._threads = threads
        self._precision = "bf16" if precision == "bf16" else "f32"
        self._core = _openvino_core()
        self._requests: dict[tuple[int, ...], list[Any]] = {}

    def __call__(self, batch: Tensor) -> Tensor:
        """Map (N, C, *S) float32 to logits (N, classes, *S)."""
        key = tuple(batch.shape[1:])
        if key not in self._requests:
            self._requests[key] = self._compile(batch)
        requests = self._requests[key]
        parts = batch.contiguous().chunk(len(requests))
        for request, part in zip(requests, parts, strict=False):  # the last batch may be shorter than the streams
            request.start_async({0: part.numpy()}, share_inputs=True)
        outputs = []
        for request in requests[: len(parts)]:
            request.wait()
            # the result lies in the request's memory only until its next call
            outputs.append(torch.from_numpy(request.get_output_tensor(0).data))
        return torch.cat(outputs)

    def _compile(self, batch: Tensor) -> list[Any]:
        """Convert at this very size: networks may write sizes into the graph while they are traced."""
        import openvino

        streams = min(self._threads, batch.shape[0])
        options = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": str(streams),
        }
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # the tracer warns of sizes that become constants: intended here
                model = openvino.convert_model(self._network, example_input=batch[:1])
            model.reshape([-1, *batch.shape[1:]])
            compiled = self._core.compile_model(model, "CPU", options)
            return [compiled.create_infer_request() for _ in range(streams)]
        except Exception as error:  # OpenVINO raises many kinds; whichever it is, this engine is out and says so
            words = str(error).strip().splitlines() or [type(error).__name__]
            raise EngineUnusableError(f"OpenVINO cannot compile the network ({words[-1].strip()[:200]})") from error


class CheckedEngine:
    """The first of several engines that works and agrees with torch fp32; tells which one and why.

    Args:
        candidates: Ways to build an engine, best first, with the reason to want it.
        reference: Torch fp32; also the last resort.
        strict: Raise instead of going on to the next engine (the user named one).
    """

    def __init__(
        self, candidates: list[tuple[Callable[[], Engine], str]], reference: Engine, *, strict: bool = False
    ) -> None:
        self._candidates = list(candidates)
        self._reference = reference
        self._strict = strict
        self._rejected: list[str] = []
        self._agreed: dict[tuple[int, ...], float] = {}
        self._engine: Engine = reference
        self._why = ""
        self.device = reference.device
        self._next()

    @property
    def name(self) -> str:
        """What runs, in words."""
        return self._engine.name

    @property
    def reason(self) -> str:
        """Why it runs, what was tried before, and how well it agrees with torch fp32."""
        parts = [*self._rejected, self._why]
        if self._agreed:
            parts.append(f"same class as torch fp32, ties apart, in {min(self._agreed.values()):.3%} of pixels checked")
        return "; ".join(part for part in parts if part)

    def __call__(self, batch: Tensor) -> Tensor:
        """Map (N, C, *S) float32 to logits (N, classes, *S)."""
        while self._engine is not self._reference:
            try:
                self._check(batch)
                return self._engine(batch)
            except EngineUnusableError as error:
                self._reject(str(error))
        return self._reference(batch)

    def _check(self, batch: Tensor) -> None:
        """Compare with the reference on the middle item, once per image size.

        The engine gets the whole batch: it may arrange itself for what it meets first.
        """
        key = tuple(batch.shape[1:])
        if key in self._agreed:
            return
        middle = slice(batch.shape[0] // 2, batch.shape[0] // 2 + 1)
        share = agreement(self._engine(batch)[middle], self._reference(batch[middle].contiguous()))
        if share < LEAST_AGREEMENT:
            raise EngineUnusableError(
                f"{self._engine.name} chooses the class of torch fp32 in only {share:.3%} of pixels "
                f"(expected {LEAST_AGREEMENT:.1%})"
            )
        self._agreed[key] = share

    def _reject(self, reason: str) -> None:
        if self._strict:
            raise ModelError(f"{reason}; use engine 'auto' or 'torch'.")
        _log.warning("engine: %s; going on with the next one", reason)
        self._rejected.append(reason)
        self._agreed.clear()
        self._next()

    def _next(self) -> None:
        """Take the next candidate that can be built, at last the reference."""
        while self._candidates:
            build, self._why = self._candidates.pop(0)
            try:
                self._engine = build()
            except EngineUnusableError as error:
                self._reject(str(error))
                return
            return
        self._engine, self._why = self._reference, "plain torch"


def choose_engine(
    network: nn.Module,
    *,
    device: DeviceName = "auto",
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
) -> CheckedEngine:
    """Choose what runs a network here.

    `auto`: CUDA if there is one; else OpenVINO on the CPU if it is installed; else MPS; else torch on the CPU. bf16
    where the hardware has it.

    Args:
        network: Module; put into eval mode and onto the device.
        device: Where to run; naming one that is not there is an error.
        engine: "torch", "openvino" (CPU only) or "auto". A named engine that fails is an error, never replaced.
        precision: "fp32" and "bf16" force the arithmetic.
        threads: CPU threads; default: torch's own number. Sets torch's number for the whole process if given.

    Raises:
        SettingsError: The device is not there, or does not go with the engine.
        MissingExtraError: OpenVINO is named but not installed.
    """
    if threads is not None:
        if threads < 1:
            raise SettingsError(f"threads: expected at least 1, got {threads}.")
        torch.set_num_threads(threads)
    if engine not in get_args(EngineName):
        raise SettingsError(unknown_name("engine", engine, get_args(EngineName)))
    if precision not in get_args(Precision):
        raise SettingsError(unknown_name("precision", precision, get_args(Precision)))
    place = _choose_device(device, engine)
    network = network.eval()
    reference = TorchEngine(network, place, "fp32")
    candidates: list[tuple[Callable[[], Engine], str]] = []
    if engine != "torch" and place.type == "cpu":
        capabilities = openvino_capabilities()
        if capabilities is None and engine == "openvino":
            raise MissingExtraError("openvino", "openvino", "The engine OpenVINO")
        if capabilities is not None:
            arithmetic = _arithmetic(precision, has_bf16="BF16" in capabilities)
            count = threads or torch.get_num_threads()
            why = "OpenVINO is installed and there is no GPU" if engine == "auto" else "OpenVINO was asked for"
            why += f", {_why_arithmetic(precision, 'BF16' in capabilities)}"
            candidates.append((lambda: OpenVinoEngine(network, arithmetic, count), why))
    if engine != "openvino":
        has_bf16 = device_has_bf16(place)
        fast = _arithmetic(precision, has_bf16=has_bf16)
        why = "torch was asked for" if engine == "torch" else _why_torch(place)
        why += f", {_why_arithmetic(precision, has_bf16)}"
        candidates.append((lambda: ChannelsLastEngine(network, place, fast), why))
    return CheckedEngine(candidates, reference, strict=engine == "openvino")


@cache
def _openvino_core() -> Any:
    """Return the one core of this process, kept until its end.

    Each core's CPU plug-in (2026.4 and before) gives the process a stack for signal handlers and puts the earlier one
    back when it goes. Two cores that do not go last in, first out leave a stack that is no longer there, and the next
    signal whose handler asks for it, any of Python's, ends the process without a word.
    """
    import openvino

    return openvino.Core()


def openvino_capabilities() -> list[str] | None:
    """Return what OpenVINO can do on this CPU ("BF16", "INT8", ...), or None where it is not installed."""
    try:
        import openvino  # noqa: F401 - is it there?
    except ImportError:
        return None
    return [str(item) for item in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")]


def device_has_bf16(device: torch.device) -> bool:
    """Say whether a device multiplies bf16 in hardware; emulation would be slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(probe and probe())
    return False


def _choose_device(device: DeviceName, engine: EngineName) -> torch.device:
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        if engine == "openvino" or not any(there[name] for name in ("cuda", "mps")):
            return torch.device("cpu")
        if there["cuda"]:
            return torch.device("cuda")
        return torch.device("cpu" if engine == "auto" and openvino_capabilities() is not None else "mps")
    if device not in there:
        raise SettingsError(f"device: expected one of auto, {', '.join(there)}, got '{device}'.")
    if not there[device]:
        found = ", ".join(name for name, is_there in there.items() if is_there)
        raise SettingsError(f"device: '{device}' is not on this machine; there is: {found}.")
    if engine == "openvino" and device != "cpu":
        raise SettingsError(f"engine: OpenVINO runs on the cpu here, got device '{device}'; choose torch or the cpu.")
    return torch.device(device)


def _arithmetic(precision: Precision, *, has_bf16: bool) -> Literal["bf16", "fp32"]:
    if precision == "auto":
        return "bf16" if has_bf16 else "fp32"
    return precision


def _why_arithmetic(precision: Precision, has_bf16: bool) -> str:
    if precision != "auto":
        return f"{precision} was asked for"
    return "bf16 in hardware" if has_bf16 else "no bf16 in hardware"


def _why_torch(place: torch.device) -> str:
    if place.type == "cpu":
        return "no GPU and OpenVINO is not usable here"
    return f"{place.type} is there"
