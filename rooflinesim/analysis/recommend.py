"""Which of several deployments is the best at the loads asked about, and what does a token cost there?"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rooflinesim.analysis.capacity.energy import decode_power
from rooflinesim.analysis.decode import DecodeResult, decode
from rooflinesim.analysis.serving.queueing import usd_per_million_tokens
from rooflinesim.nouns import Noun
from rooflinesim.specs.deployment import Deployment
from rooflinesim.units import quantity
from rooflinesim.workload.step import Array


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Cost(Noun):
    """What tokens take, each column of shape (points,); without a price no money. Energy is that of `EnergyLaw`."""

    usd_per_mtok: np.ndarray | None
    joules_per_token: np.ndarray = quantity("J")
    power: np.ndarray = quantity("W")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Standing(Noun):
    """A deployment at the batch that serves best of those asked about.

    `meets` says whether the batch fits into memory and, where there is a target, whether its step keeps within it, at
    the predicted time and, `surely`, also at the upper end of the band. Costs are those of one point.
    """

    deployment: Deployment
    price: float | None = quantity("USD/h")
    batch: float = quantity("1")
    context: float = quantity("tokens")
    row: DecodeResult
    cost: Cost
    meets: bool
    surely: bool

    @property
    def tokens_per_s_per_device(self) -> float:
        """Throughput of each device [tokens/s]."""
        return float(self.row.tokens_per_s[0]) / self.deployment.devices


def cost_of(hourly: float | None, power: Array, tokens_per_s: Array) -> Cost:
    """Price and energy of tokens that come at rates.

    Parameters
    ----------
    hourly : price of all devices. [USD/h]
    power : of all devices. [W]
    tokens_per_s : all tokens together. [tokens/s] > 0
    """
    rate = np.atleast_1d(tokens_per_s)
    return Cost(
        usd_per_mtok=None if hourly is None else np.asarray(usd_per_million_tokens(hourly, rate)),
        joules_per_token=np.asarray(power / rate),
        power=np.broadcast_to(power, rate.shape),
    )


def decode_cost(deployment: Deployment, price: float | None, rows: DecodeResult) -> Cost:
    """Price and energy of the tokens of decode steps, one after the other without a pause.

    Parameters
    ----------
    price : of one device. [USD/h]
    """
    power = decode_power(deployment, rows.batch, rows.context, rows.step_time)
    return cost_of(hourly_price(deployment, price), power, rows.tokens_per_s)


def hourly_price(deployment: Deployment, price: float | None) -> float | None:
    """Price of all devices of a deployment [USD/h]; None where that of one is unknown."""
    return None if price is None else price * deployment.devices


def standings(
    deployments: Sequence[Deployment],
    prices: Sequence[float | None],
    *,
    batch: Sequence[float],
    context: float,
    target: float | None = None,
) -> tuple[Standing, ...]:
    """Deployments from best to worst, each at the batch of most tokens per second that fits and meets a target.

    Those that meet it come first. Among them the least cost per token decides where all prices are known, else the
    most tokens per second of each device. Where no batch does, a deployment stands at its fastest step.

    Parameters
    ----------
    batch : sequences to choose from. [1] >= 1
    target : longest time per step. [s]
    """
    found = [
        _standing(one, price, decode(one, batch=np.asarray(batch, dtype=np.float64), context=context), target)
        for one, price in zip(deployments, prices, strict=True)
    ]
    has_prices = all(price is not None for price in prices)

    def order(one: Standing) -> tuple[bool, float, int]:
        cost = one.cost.usd_per_mtok
        worth = float(cost[0]) if has_prices and cost is not None else -one.tokens_per_s_per_device
        return not one.meets, worth if one.meets else float(one.row.step_time[0]), one.deployment.devices

    return tuple(sorted(found, key=order))


def _standing(deployment: Deployment, price: float | None, rows: DecodeResult, target: float | None) -> Standing:
    fits = np.ones(rows.batch.shape, dtype=bool) if rows.fits is None else rows.fits
    limit = np.inf if target is None else target
    meets = fits & (rows.step_time <= limit)
    chosen = int(np.where(meets, rows.tokens_per_s, -1.0).argmax()) if meets.any() else int(rows.step_time.argmin())
    row = decode(deployment, batch=float(rows.batch[chosen]), context=float(rows.context[chosen]))
    cost = decode_cost(deployment, price, row)
    return Standing(
        deployment=deployment,
        price=price,
        batch=float(row.batch[0]),
        context=float(row.context[0]),
        row=row,
        cost=cost,
        meets=bool(meets[chosen]),
        surely=bool(meets[chosen] and row.step_time_high[0] <= limit),
    )
