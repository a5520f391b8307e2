"""Where each number comes from that was not counted."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from rooflinesim.analysis.timing import main_format
from rooflinesim.cost.machine import machine_of
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment, link_of
from rooflinesim.specs.hardware import Hardware, is_converted, math_format

if TYPE_CHECKING:
    from rooflinesim.analysis.speculation.acceptance import Acceptance
    from rooflinesim.analysis.speculation.methods import Speculation

Kind = Literal["datasheet", "measured", "fitted", "assumed"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Provenance(Noun):
    """One number that was not counted: what it is, its value in SI, its kind and source."""

    what: str
    value: float | None
    unit: str
    kind: Kind
    source: str


def provenance_of(deployment: Deployment) -> tuple[Provenance, ...]:
    """All numbers that a deployment's times rest on besides the counts."""
    return (*_of_hardware(deployment), *_of_stack(deployment))


def _of_hardware(deployment: Deployment) -> Iterator[Provenance]:
    hardware = deployment.hardware
    yield _fact(hardware, "memory_bandwidth", hardware.memory_bandwidth, "B/s")
    if hardware.memory_capacity is not None:
        yield _fact(hardware, "memory_capacity", hardware.memory_capacity, "B")
    for math in used_math(deployment):
        yield _fact(hardware, f"dense_flop_rate.{math}", hardware.dense_flop_rate[math], "FLOP/s")
    if hardware.on_chip.cache_capacity:
        yield _fact(hardware, "on_chip.l2_capacity", hardware.on_chip.cache_capacity, "B")
    link = link_of(hardware, deployment.group_devices)
    if link:
        name = "link" if link is hardware.link else "host_link"
        yield _fact(hardware, f"{name}.bandwidth", link.bandwidth, "B/s")


def _fact(hardware: Hardware, field: str, value: float, unit: str) -> Provenance:
    """A datasheet value; one that nobody looked up is called assumed."""
    source = hardware.sources.get(field) or hardware.source_of(field.split(".", maxsplit=1)[0])
    is_looked_up = "from memory" not in source and not source.startswith("assumed")
    kind: Kind = "datasheet" if is_looked_up else "assumed"
    return Provenance(what=f"{hardware.name}: {field}", value=value, unit=unit, kind=kind, source=source)


def used_math(deployment: Deployment) -> tuple[str, ...]:
    """Math formats that the deployment's weights and activations are multiplied in."""
    precision = deployment.precision
    forms = (
        precision.attention,
        precision.mlp,
        precision.experts,
        precision.shared_experts,
        precision.head,
        precision.activations,
    )
    return tuple(dict.fromkeys(math_format(form, deployment.hardware) for form in forms))


def converted_formats(deployment: Deployment) -> tuple[tuple[str, str], ...]:
    """Number formats that the device has no unit for, each with the math that they run in instead."""
    precision, hardware = deployment.precision, deployment.hardware
    forms = (precision.attention, precision.mlp, precision.experts, precision.head, precision.activations)
    return tuple(
        dict.fromkeys((form.name, math_format(form, hardware)) for form in forms if is_converted(form, hardware))
    )


def _of_stack(deployment: Deployment) -> Iterator[Provenance]:
    stack, hardware = deployment.stack, deployment.hardware
    measured = hardware.calibration if stack.uses_calibration else None
    memory_class = hardware.memory_class
    if measured and measured.memory_efficiency is not None:
        yield Provenance(
            what=f"{hardware.name}: memory_efficiency",
            value=measured.memory_efficiency,
            unit="1",
            kind="measured",
            source=measured.source,
        )
    else:
        yield _constant(deployment, f"memory_efficiency.{memory_class}", stack.memory_efficiency[memory_class], "1")
    machine = machine_of(deployment)
    math = math_format(main_format(deployment), hardware)
    yield _constant(deployment, f"gemm_flop_efficiency.{math}", float(machine.flop_efficiency(math)), "1")
    yield _constant(deployment, "gemm.fixed_time", machine.gemm.fixed_time, "s")
    yield _constant(deployment, "attention.flop_efficiency", machine.attention.flop_efficiency, "1")
    yield _constant(deployment, "attention.fixed_time", machine.attention.fixed_time, "s")
    yield _constant(deployment, "elementwise.fixed_time", stack.elementwise.fixed_time, "s")
    if deployment.group_devices > 1:
        fastest = machine.collectives.one_shot or machine.collectives.two_shot or machine.collectives.bulk
        yield _constant(deployment, "collectives.bandwidth_efficiency", fastest.bandwidth_efficiency, "1")
        yield _constant(deployment, "collectives.latency", fastest.latency, "s")
    if any(group.moe for group in deployment.model.layers):
        yield _constant(deployment, "experts.fixed_time", machine.experts.fixed_time, "s")
        yield _constant(deployment, "routing.correlation", stack.routing.correlation, "1")
    yield _constant(deployment, "step_time", stack.step_time, "s")
    yield _constant(deployment, "sequence_time", stack.sequence_time, "s")


def _constant(deployment: Deployment, field: str, value: float, unit: str) -> Provenance:
    stack = deployment.stack
    top = field.split(".", maxsplit=1)[0]
    kind: Kind = stack.kinds.get(field) or stack.kinds.get(top, "assumed")
    source = stack.sources.get(field) or stack.source_of(top)
    return Provenance(what=f"{stack.name}: {field}", value=value, unit=unit, kind=kind, source=source)


def speculation_provenance(speculation: "Speculation", keeps: "Acceptance") -> Iterator[Provenance]:
    """What the rounds of a speculation rest on beside its target: what the software adds, and what was given."""
    target = speculation.target
    law = target.stack.speculation
    for field in dataclasses.fields(law):
        value = getattr(law, field.name)
        if isinstance(value, float) and value != field.default:
            yield _constant(target, f"speculation.{field.name}", value, field.metadata["unit"])
    given: tuple[tuple[str, float | None, str], ...] = (
        ("draft_cost_ratio", speculation.draft_cost_ratio, "1"),
        ("draft_pass_time", speculation.draft_pass_time, "s"),
        ("acceptance decay", keeps.decay if keeps.decay != 1.0 else None, "1"),
    )
    for what, value, unit in given:
        if value is not None:
            yield Provenance(what=what, value=value, unit=unit, kind="assumed", source="given with the question")
    draft = getattr(speculation.method, "draft", None)
    if isinstance(draft, Deployment) and draft.hardware.name != target.hardware.name:
        yield _fact(draft.hardware, "memory_bandwidth", draft.hardware.memory_bandwidth, "B/s")
