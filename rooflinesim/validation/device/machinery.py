"""The device at hand as it is measured: its clock, number formats and memory, and the pools that fill it."""

import dataclasses
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from rooflinesim.analysis.comparison import Skipped
from rooflinesim.errors import UnsupportedError
from rooflinesim.specs.model import Model
from rooflinesim.validation.device.cells import Cell
from rooflinesim.validation.device.clock import Clock, clock_of, step_clock_of
from rooflinesim.validation.device.decoder import (
    AMPLITUDE,
    DTYPES,
    CachePool,
    WeightPool,
    cache_elements,
    pool_elements,
    random_values,
)
from rooflinesim.validation.device.gpu import gpu_state
from rooflinesim.validation.device.kernels import Benchmark
from rooflinesim.workload.parameters import total_parameters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machinery:
    """The device as it is measured: which, with how many threads, its clocks, number formats and memory [B]."""

    device: str
    threads: int
    clock: Clock
    step_clock: Clock
    forms: tuple[str, ...]
    memory: float
    notes: tuple[str, ...] = ()

    @property
    def is_gpu(self) -> bool:
        """Whether it works on its own while the host goes on."""
        return self.device.startswith("cuda")

    @property
    def devices(self) -> int:
        """GPUs of the machine; one for a processor."""
        return int(torch.cuda.device_count()) if self.is_gpu else 1

    @property
    def index(self) -> int:
        """Number of a GPU among those of the machine."""
        return int(self.device.partition(":")[2] or 0)

    def clock_rate(self) -> float | None:
        """Clock rate of a GPU now [Hz]; None where it is not told, as on a processor, whose thread's time is taken."""
        state = gpu_state(self.index) if self.is_gpu else None
        return state.clock_rate if state else None

    @property
    def name(self) -> str:
        """What the device calls itself."""
        return str(torch.cuda.get_device_name(torch.device(self.device))) if self.is_gpu else processor_name()

    @property
    def software(self) -> str:
        """What it is measured with."""
        return f"torch {torch.__version__}"

    @property
    def architecture(self) -> str:
        """Tag of a GPU's architecture, such as sm_90, or that of the processor."""
        if not self.is_gpu:
            return platform.machine()
        major, minor = torch.cuda.get_device_capability(self.device)
        return f"sm_{major}{minor}"

    @property
    def capacity(self) -> float | None:
        """All of its memory [B]; None where the system does not tell."""
        if self.is_gpu:
            return float(torch.cuda.mem_get_info()[1])
        return memory_info("MemTotal")

    @property
    def cache(self) -> float | None:
        """Its last shared cache [B]; None where the system does not tell."""
        if self.is_gpu:
            return float(getattr(torch.cuda.get_device_properties(self.device), "L2_cache_size", 0)) or None
        return last_cache()


def processor_name() -> str:
    """Name of the processor, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machinery(device: str | None = None, threads: int = 1, forms: Sequence[str] | None = None) -> Machinery:
    """The device at hand, ready to be timed: a GPU where there is one, else the CPU.

    Raises
    ------
    UnsupportedError : if torch cannot use the device, or has none of the number formats on it.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UnsupportedError("--device cuda: torch sees no CUDA device here; use --device cpu")
    notes = []
    runnable = []
    for form in forms or ("fp32", "bf16"):
        reason = _refusal(form, name)
        if reason is None:
            runnable.append(form)
        else:
            notes.append(f"{form} is left out: {reason}")
    if not runnable:
        raise UnsupportedError(
            f"torch {torch.__version__} on {name} multiplies none of the formats: {'; '.join(notes)}"
        )
    return Machinery(
        device=name,
        threads=threads,
        clock=clock_of(name, threads),
        step_clock=step_clock_of(name, threads),
        forms=tuple(runnable),
        memory=free_memory(name),
        notes=tuple(notes),
    )


def _refusal(form: str, device: str) -> str | None:
    """Why torch cannot multiply a number format on a device; None where it can."""
    if form not in DTYPES:
        return f"only {', '.join(DTYPES)} are run"
    try:
        one = torch.ones(4, 8, dtype=DTYPES[form], device=device)
        torch.nn.functional.linear(one, one)
        torch.nn.functional.rms_norm(one, (8,))
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        # There is no list of what a build multiplies; older ones lack the function itself.
        return str(error).splitlines()[0]
    return None


def free_memory(device: str) -> float:
    """Memory that can be taken now [B]; infinite where the system does not tell."""
    if device.startswith("cuda"):
        return float(torch.cuda.mem_get_info()[0])
    return memory_info("MemAvailable") or float("inf")


def memory_info(key: str) -> float | None:
    """A line of the system's account of its memory [B]; None where it has none."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith(key):
                return 1024.0 * float(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return None


def last_cache() -> float | None:
    """Size of the last shared cache of the first core [B]; None where the system does not tell."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        try:
            text = path.read_text(encoding="ascii").strip()
            sizes.append(float(text.rstrip("KM")) * {"K": 1024.0, "M": 1024.0**2}.get(text[-1:], 1.0))
        except (OSError, ValueError):
            continue
    return max(sizes) if sizes else None


@contextmanager
def at_work(own: Machinery) -> Iterator[None]:
    """Torch with the threads of the measurement and without gradients, and afterwards as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(own.threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


BLOCK = 1 << 22
"""Random numbers that are drawn; pools repeat them, since drawing takes longer than measuring."""


def filled(elements: int, form: str, device: str, amplitude: float) -> torch.Tensor:
    """Random numbers of one format in every page."""
    block = random_values(BLOCK, DTYPES[form], device, 0) * amplitude
    values = torch.empty(elements, dtype=DTYPES[form], device=device)
    for part in values.split(BLOCK):
        part.copy_(block[: part.numel()])
    return values


def filled_weights(elements: int, forms: Sequence[str], device: str) -> dict[str, torch.Tensor]:
    """Random weights by number format; those of fp32 are pairs of those of bf16, in the same memory.

    The upper half of a number of 32 bits is the same number in bf16, and the lower half only adds digits to it. That
    holds for what is only read: what is written in 32 bits has any digits, which in bf16 may be no number.
    """
    if not {"fp32", "bf16"} <= set(forms):
        return {form: filled(elements, form, device, AMPLITUDE) for form in forms}
    halves = filled(2 * elements, "bf16", device, AMPLITUDE)
    rest = {form: filled(elements, form, device, AMPLITUDE) for form in forms if form not in ("fp32", "bf16")}
    return {"fp32": halves.view(torch.float32), "bf16": halves, **rest}


def weight_bytes(forms: Sequence[str]) -> int:
    """Bytes that the weights take per element [B]."""
    sizes = {form: int(DTYPES[form].itemsize) for form in forms}
    return sum(size for form, size in sizes.items() if form != "bf16" or "fp32" not in sizes)


def within_memory(
    own: Machinery, kept: Sequence[Benchmark], models: Sequence[Model], asked: Sequence[Cell]
) -> tuple[list[Cell], list[Model], list[Skipped]]:
    """Cells and decoders that fit in the memory that is free, and those that do not, each with the reason."""
    room = 0.6 * own.memory
    width, cache_width = weight_bytes(own.forms), sum(int(DTYPES[form].itemsize) for form in own.forms)
    base = width * benchmark_elements(kept) + cache_width * cache_room(kept, ())
    fitting, reasons = [], []
    for model in sorted(models, key=total_parameters):
        needed = base + width * total_parameters(model)
        if needed <= room:
            fitting.append(model)
        else:
            reasons.append(
                Skipped(id=model.name, reason=f"needs {needed / 1e9:.1f} GB, and {own.memory / 1e9:.1f} GB are free")
            )
    weights = max([total_parameters(model) for model in fitting], default=0)
    cells = []
    for cell in asked:
        if cell.model not in fitting:
            continue
        cached = cache_width * max(cell.cache_elements, cache_room(kept, ()))
        needed = width * max(weights, benchmark_elements(kept)) + cached
        if needed <= room and cell.cache_elements <= MOST_CACHE:
            cells.append(cell)
        else:
            reasons.append(Skipped(id=cell.id, reason=f"needs {needed / 1e9:.1f} GB with the weights of the decoders"))
    return cells, fitting, reasons


MOST_CACHE = 260_000_000
"""Elements of a cache at most [1]: filling a pool for more takes longer than measuring."""


def benchmark_elements(kept: Sequence[Benchmark]) -> int:
    """Elements of a pool of weights in which benchmarks find cold ones: several times any last cache [1]."""
    return max([64_000_000, *(2 * pool_elements(one.model) for one in kept)])


def cache_room(kept: Sequence[Benchmark], asked: Sequence[Cell]) -> int:
    """Elements of the pool of caches [1]."""
    own = [2 * cache_elements(one.model, one.batch, one.context + one.new_tokens) for one in kept]
    return max([32_000_000, *own, *(cell.cache_elements + (1 << 20) for cell in asked)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pools:
    """Memory of weights and caches by number format, shared by all that is measured."""

    weights: dict[str, WeightPool]
    caches: dict[str, CachePool]


def pools(own: Machinery, kept: Sequence[Benchmark], models: Sequence[Model], asked: Sequence[Cell]) -> Pools:
    """Pools with room for any of the benchmarks, decoders and cells."""
    weights = max([benchmark_elements(kept), *map(pool_elements, models)])
    caches = cache_room(kept, asked)
    return Pools(
        weights={
            form: _pool(WeightPool, form, values)
            for form, values in filled_weights(weights, own.forms, own.device).items()
        },
        caches={form: _pool(CachePool, form, filled(caches, form, own.device, 1.0)) for form in own.forms},
    )


Pool = TypeVar("Pool", WeightPool, CachePool)


def _pool(kind: type[Pool], form: str, values: torch.Tensor) -> Pool:
    """A pool of values that are there already."""
    pool = object.__new__(kind)
    pool.form = form
    pool.values = values
    return pool
