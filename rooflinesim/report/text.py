"""Numbers as people read them in tables, and what results mean in words."""

from collections.abc import Iterator, Sequence

from rooflinesim.report.provenance import converted_formats
from rooflinesim.specs.deployment import NETWORK, Deployment, reach_of
from rooflinesim.specs.model import Model
from rooflinesim.specs.precision import Precision
from rooflinesim.specs.routing import Routing
from rooflinesim.units import format_quantity


def short(value: float | None, unit: str = "1", digits: int = 3) -> str:
    """A number to three digits, with its unit where it has one; a dash for none."""
    if value is None:
        return "-"
    return format_quantity(value, unit, digits) if unit != "1" else format_quantity(value, "1", digits)


def whole(value: float | None) -> str:
    """A count with its thousands set apart; a dash for none."""
    return "-" if value is None else f"{value:,.0f}"


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:.0f} %" if abs(share) >= 0.095 or share == 0 else f"{100 * share:.1f} %"


def share(value: float) -> str:
    """A share as a percentage, as narrow as a column wants it."""
    return percent(value).replace(" ", "")


def milliseconds(value: float) -> str:
    """A time in ms, so that a column of times can be compared at a glance."""
    time = value * 1e3
    return f"{time:,.0f}" if time >= 1000 else f"{time:#.4g}" if time >= 0.001 else f"{time:.2g}"


def time_range(low: float, high: float) -> str:
    """A band of times in ms; a dash where there is none."""
    return "-" if low == high else f"{short(low * 1e3)}-{short(high * 1e3)}"


def span(low: float, high: float, unit: str) -> str:
    """A band in the prefix of its upper end, such as 6.35-22.3 s; empty where there is none."""
    if low == high:
        return ""
    upper, _, prefixed = format_quantity(high, unit, 3).partition(" ")
    scale = float(upper.replace(",", "")) / high
    return f"{short(low * scale)}-{upper} {prefixed}"


def formats_line(precision: Precision, model: Model) -> str:
    """The number formats of a model's weights and cache, the odd ones out named."""
    parts = {"attention": precision.attention.name, "head": precision.head.name}
    if any(group.mlp for group in model.layers):
        parts["mlp"] = precision.mlp.name
    if any(group.moe for group in model.layers):
        parts["experts"] = precision.experts.name
    names = list(dict.fromkeys(parts.values()))
    if len(names) == 1:
        weights = f"{names[0]} weights"
    else:
        weights = "weights " + ", ".join(
            f"{name} ({'/'.join(part for part, one in parts.items() if one == name)})" for name in names
        )
    return f"{weights}, {precision.kv_cache.name} KV cache"


def deployment_line(deployment: Deployment) -> str:
    """One line that says what is being asked about."""
    return f"{deployment_words(deployment)}; {formats_line(deployment.precision, deployment.model)}"


def deployment_words(deployment: Deployment) -> str:
    """A model on devices under a stack, without its formats."""
    count, name = deployment.devices, deployment.hardware.name
    devices = name if count == 1 else f"{count} x {name} ({layout_words(deployment)})"
    return f"{deployment.model.name} on {devices}, stack {deployment.stack.name}"


def telling_labels(deployments: Sequence[Deployment]) -> list[str]:
    """What tells deployments apart, in a few words each; of one alone, its model and devices."""
    said = [
        (
            one.model.name,
            f"{one.devices} x {one.hardware.name}" if one.devices > 1 else one.hardware.name,
            layout_words(one),
            f"stack {one.stack.name}",
            formats_line(one.precision, one.model),
        )
        for one in deployments
    ]
    if len(said) == 1:
        return [" on ".join(said[0][:2])]
    labels: list[tuple[str, ...]] = [()] * len(said)
    for column in zip(*said, strict=True):
        longer = [(*label, word) for label, word in zip(labels, column, strict=True)]
        if len(set(longer)) > len(set(labels)):
            labels = longer
    return [", ".join(filter(None, label)) for label in labels]


def layout_words(deployment: Deployment) -> str:
    """How a replica is spread over its devices."""
    ways = {
        "TP": deployment.tensor_parallel,
        "DP": deployment.data_parallel,
        "EP": deployment.expert_parallel,
        "PP": deployment.pipeline_parallel,
    }
    return ", ".join(f"{way} {count}" for way, count in ways.items() if count > 1)


def residency_line(deployment: Deployment, share: float, batch: int, context: int) -> str:
    """How much of a step is read on chip."""
    cache = format_quantity(deployment.hardware.on_chip.cache_capacity, "B", 3)
    return (
        f"batch {batch:,} at context {context:,} fits into the {cache} on chip:"
        f" {percent(share)} of its bytes are read there, not from device memory"
    )


def usable_line(deployment: Deployment) -> str:
    """How much memory of a device the software takes."""
    capacity, stack = deployment.hardware.memory_capacity or 0.0, deployment.stack
    usable = format_quantity(capacity * stack.memory_utilization, "B")
    return f"{usable} of {format_quantity(capacity, 'B')} ({percent(stack.memory_utilization)} is used by {stack.name})"


def shortage(deployment: Deployment, missing: float, batch: int | None, ranks: int | None) -> str:
    """By how much a deployment is too large, and what would fit."""
    words = [f"{format_quantity(missing, 'B')} too much for {usable_line(deployment)}"]
    if batch:
        words.append(f"the largest batch at this context is {batch:,}")
    if ranks:
        words.append(f"--tp {ranks} would hold it")
    if not batch and not ranks:
        words.append(
            "no group of these devices within one host holds it; fewer bits (--weights) or larger devices would"
        )
    return "; ".join(words)


def routing_words(routing: Routing) -> str:
    """How tokens choose experts."""
    if routing.frequencies:
        words = "with the given frequencies"
    elif routing.zipf_exponent:
        words = f"by Zipf's law with exponent {routing.zipf_exponent:g}"
    else:
        words = "uniformly"
    alike = {"neighbours": routing.overlap, "sequences": routing.correlation}
    return "".join([words, *(f", {which} alike by {percent(share)}" for which, share in alike.items() if share)])


def deployment_notes(deployment: Deployment) -> Iterator[str]:
    """What a reader must know about a deployment before trusting its numbers."""
    hardware, stack = deployment.hardware, deployment.stack
    for assumption in deployment.model.assumptions:
        yield f"{deployment.model.name}: {assumption}"
    for form, math in converted_formats(deployment):
        rate = format_quantity(hardware.dense_flop_rate[math], "FLOP/s")
        advice = ""
        fp16_rate = hardware.dense_flop_rate.get("fp16", 0.0)
        if form == "bf16" and fp16_rate > hardware.dense_flop_rate[math]:
            advice = f"; --weights fp16 would run at {format_quantity(fp16_rate, 'FLOP/s')}"
        yield f"{hardware.name} has no {form} unit: values are converted and multiplied in {math} at {rate}{advice}"
    if not stack.bands:
        yield f"stack {stack.name} is a bound, not a prediction: it has no error band"
    elif not stack.fitted_on:
        yield f"stack {stack.name} is no one engine: the band is that of engines left out of its fit"
    elif hardware.name not in stack.fitted_on:
        yield f"stack {stack.name} was not fitted on {hardware.name}: the band is that of devices left out of its fit"
    if any(group.moe for group in deployment.model.layers):
        yield f"experts are chosen {routing_words(stack.routing)} ({stack.source_of('routing')}); see --routing"
    if deployment.devices > 1:
        yield "bytes, FLOPs and memory are those of one device of the group"
    if deployment.group_devices > reach_of(deployment.hardware):
        yield (
            f"{deployment.group_devices} devices span hosts, which are assumed to be connected at"
            f" {format_quantity(NETWORK.bandwidth, 'B/s')} per device"
        )
    if hardware.memory_class == "SRAM":
        yield f"{hardware.name} keeps weights and KV in SRAM: its memory bandwidth is that of on-chip memory"
    if hardware.devices > 1:
        yield f"{hardware.name}: {hardware.note}"
