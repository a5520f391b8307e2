"""What first tokens of closed loops wait for, from measured ones: a fixed time and a share of the others' prompts."""

import dataclasses

import numpy as np

from rooflinesim.nouns import Noun
from rooflinesim.units import quantity

FEWEST_WAITS = 20
"""First tokens below which an engine has no constants of its own."""

_TIMES = np.concatenate([[0.0], np.geomspace(0.002, 1.0, 80)])
_SHARES = np.geomspace(0.005, 1.0, 81)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Waits(Noun):
    """First tokens side by side, columns of shape (runs,): how long each took, and what it is made of.

    `alone` is the time with no other request's prompt before it, `prompt` that of one prompt, `others` the number of
    requests that run beside it.
    """

    measured: np.ndarray = quantity("s")
    alone: np.ndarray = quantity("s")
    prompt: np.ndarray = quantity("s")
    others: np.ndarray = quantity("1")

    def rows(self, chosen: np.ndarray) -> "Waits":
        """First tokens at these places alone."""
        return Waits(**{field.name: getattr(self, field.name)[chosen] for field in dataclasses.fields(self)})


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Waiting(Noun):
    """Constants of a stack: time until a request is admitted, and the share of others' prompts that it waits for."""

    admission_time: float = quantity("s")
    share: float = quantity("1")

    def time(self, waits: Waits) -> np.ndarray:
        """Predicted time to each first token [s]."""
        return np.asarray(self.admission_time + waits.alone + self.share * waits.others * waits.prompt)


def fitted_waiting(waits: Waits) -> Waiting:
    r"""Constants :math:`t_0` and s by least absolute deviations of :math:`\ln((t_0 + t + s (b - 1) P) / measured)`.

    Absolute deviations, because some servers are still compiling, or wait for memory that others hold.
    """
    best = Waiting(admission_time=0.0, share=0.0)
    least = np.inf
    for start in _TIMES:
        times = start + waits.alone + _SHARES[:, None] * waits.others * waits.prompt
        apart = np.abs(np.log(times / waits.measured)).mean(axis=-1)
        place = int(apart.argmin())
        if apart[place] < least:
            least, best = float(apart[place]), Waiting(admission_time=float(start), share=float(_SHARES[place]))
    return best


def fitted_waitings(waits: Waits, engines: np.ndarray, used: np.ndarray) -> dict[str, Waiting]:
    """Constants of each engine with enough first tokens among those used; of all together under "generic"."""
    found: dict[str, Waiting] = {}
    if used.sum() >= FEWEST_WAITS:
        found["generic"] = fitted_waiting(waits.rows(used))
    for engine in sorted(set(engines[used])):
        mine = used & (engines == engine)
        if mine.sum() >= FEWEST_WAITS:
            found[str(engine)] = fitted_waiting(waits.rows(mine))
    return found


def waited_times(waits: Waits, engines: np.ndarray, waitings: dict[str, Waiting]) -> np.ndarray:
    """Time to each first token by its own engine's constants, else by those of all; alone where there are none [s]."""
    total = waits.alone.copy()
    for engine in set(engines):
        waiting = waitings.get(str(engine), waitings.get("generic"))
        mine = engines == engine
        if waiting is not None:
            total[mine] = waiting.time(waits.rows(mine))
    return total
