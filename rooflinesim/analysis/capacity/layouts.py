"""Ways to spread a model over devices: those that can be, and why the others cannot."""

import dataclasses
from collections.abc import Iterator, Sequence

from rooflinesim.analysis.timing import step_ops
from rooflinesim.errors import DomainError, RooflinesimError
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.specs.model import Model
from rooflinesim.units import quantity
from rooflinesim.workload.step import Step

EVERY_COUNT = 16
"""Devices up to which every number of them is looked at, and from where on they double."""

MAXIMUM_LAYOUTS = 5_000


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Layout(Noun):
    """How a replica is spread over devices; see `Deployment`."""

    tensor_parallel: int = quantity("1", default=1, minimum=1)
    pipeline_parallel: int = quantity("1", default=1, minimum=1)
    expert_parallel: int = quantity("1", default=1, minimum=1)
    data_parallel: int = quantity("1", default=1, minimum=1)

    @property
    def devices(self) -> int:
        """All devices of the replica."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel


def layouts(
    model: Model,
    *,
    tensor: Sequence[int] = (),
    pipeline: Sequence[int] = (),
    expert: Sequence[int] = (),
    data: Sequence[int] = (),
    largest: int = EVERY_COUNT,
) -> tuple[Layout, ...]:
    """Layouts of at most `largest` devices, the fewest devices first.

    Parameters
    ----------
    tensor, pipeline, expert, data : numbers of devices that are looked at; where none is given all that can be are.
        Groups with sequences of their own are only formed by themselves for a mixture of experts: with a dense model
        they are replicas
    largest : devices of one replica. [1] >= 1

    Raises
    ------
    DomainError : if there are more than `MAXIMUM_LAYOUTS`.
    """
    has_experts = any(group.moe for group in model.layers)

    def counts(named: Sequence[int], room: int, *, is_open: bool = True) -> Iterator[int]:
        if named or not is_open:
            yield from named or (1,)
            return
        count = 1
        while count <= room:
            yield count
            count = count + 1 if count < EVERY_COUNT else count * 2

    found = []
    for ranks in counts(tensor, largest):
        for stages in counts(pipeline, min(largest // ranks, model.layer_count)):
            for groups in counts(data, largest // (ranks * stages), is_open=has_experts):
                shares = [one for one in range(1, ranks * groups + 1) if ranks * groups % one == 0]
                for dealt in expert or (shares if has_experts else (1,)):
                    found.append(
                        Layout(
                            tensor_parallel=ranks,
                            pipeline_parallel=stages,
                            expert_parallel=dealt,
                            data_parallel=groups,
                        )
                    )
                    if len(found) > MAXIMUM_LAYOUTS:
                        raise DomainError(
                            f"more than {MAXIMUM_LAYOUTS:,} layouts of up to {largest:,} devices: name some under"
                            " parallelism, or lower maximum_devices"
                        )
    return tuple(sorted(found, key=lambda one: one.devices))


def refusal(deployment: Deployment) -> str | None:
    """Why a deployment cannot be, whatever it is asked: heads, experts or formats; None if it can."""
    shares = deployment.expert_parallel
    slices = deployment.group_devices // shares
    for group in deployment.model.layers:
        if group.moe and group.moe.experts % shares:
            return f"expert parallelism {shares} does not divide the {group.moe.experts} experts of a layer"
        if group.moe and group.moe.width % slices:
            return f"{slices} devices for each expert do not divide its width of {group.moe.width:,}"
    try:
        step_ops(deployment, Step())
    except RooflinesimError as error:
        return str(error)
    return None
