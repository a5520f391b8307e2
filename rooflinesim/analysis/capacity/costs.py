"""What tokens cost: the price of the devices over what they serve, split between prompts and outputs."""

import dataclasses

from rooflinesim.analysis.capacity.fleets import Choice
from rooflinesim.analysis.serving.load import Load
from rooflinesim.analysis.serving.queueing import usd_per_million_tokens
from rooflinesim.nouns import Noun
from rooflinesim.units import quantity


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TokenPrices(Noun):
    """Cost of a million tokens of prompts, cached ones among them, and of outputs; None without prices."""

    per_million_input: float | None = quantity("USD", column="usd_per_million_input_tokens")
    per_million_output: float | None = quantity("USD", column="usd_per_million_output_tokens")


def token_prices(choice: Choice, load: Load) -> TokenPrices:
    r"""Price of a fleet under its load, idle time paid for, over its tokens.

    Devices that do both are split by the time that each takes, :math:`\rho_p / (\rho_p + \rho_d)`; an engine decodes
    whenever it has requests and reads no prompt: :math:`\rho_d = (1 - \rho_p) \min(B, 1)`.
    """
    price = choice.price
    served = float(choice.state.requests_per_s[0])
    if price is None or served <= 0.0:
        return TokenPrices(per_million_input=None, per_million_output=None)
    share = input_share(choice)
    return TokenPrices(
        per_million_input=float(usd_per_million_tokens(price * share, served * load.prompt_tokens)),
        per_million_output=float(usd_per_million_tokens(price * (1.0 - share), served * load.output_tokens)),
    )


def input_share(choice: Choice) -> float:
    """Share of the price that prompts pay [1]."""
    if choice.prefill is not None and choice.price:
        return choice.fleet.prefill_replicas * choice.prefill.replica_cost / choice.price
    reading = float(choice.state.prefill_share[0])
    decoding = (1.0 - reading) * min(1.0, float(choice.state.running[0]))
    return reading / (reading + decoding)
