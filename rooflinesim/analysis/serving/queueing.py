"""Closed forms of serving: mean batch, saturation, distribution of the batch, waits, transfer, cost and energy."""

import numpy as np

from rooflinesim.errors import DomainError
from rooflinesim.workload.step import Array

LARGEST_BATCH = 8192
"""Batch up to which distributions are summed and tables reach [1]."""

_HALVINGS = 20


def fitting_sequences(room: Array, sequence_bytes: Array) -> Array:
    r"""Sequences whose caches fit into a room at once [1].

    .. math:: B_{max} = \lfloor (M u - W - W_d - act) / ((kv + kv_d) \lceil s / block \rceil block) \rfloor

    Parameters
    ----------
    room : memory that weights, a draft's weights and activations leave. [B]
    sequence_bytes : of one sequence in whole blocks, a draft's cache included. [B]
    """
    fitting: Array = np.maximum(np.floor(room / np.asarray(sequence_bytes)), 0.0)
    return fitting


def mean_batch(
    requests_per_s: Array, decoded_tokens: Array, fixed_time: Array, sequence_time: Array, prompt_time: Array = 0.0
) -> Array:
    r"""Mean running batch where a decode step takes t0 + t1 B [1]; infinite where load outruns the engine.

    Little's law, and prompts that take a share :math:`\rho_p = \lambda T_p` of the time:

    .. math:: B = \frac{\lambda n t_0}{1 - \rho_p - \lambda n t_1}

    Parameters
    ----------
    requests_per_s : lambda, of one replica. [1/s]
    decoded_tokens : n, of one request. [tokens]
    fixed_time, sequence_time : t0, t1. [s]
    prompt_time : T_p, engine time of one request's prompt. [s]
    """
    rest = 1.0 - requests_per_s * (np.asarray(prompt_time) + decoded_tokens * sequence_time)
    is_stable = rest > 0
    batch: Array = np.where(
        is_stable, requests_per_s * decoded_tokens * fixed_time / np.where(is_stable, rest, 1), np.inf
    )
    return batch


def request_rate(batch: Array, decoded_tokens: Array, decode_time: Array, prompt_time: Array = 0.0) -> Array:
    r"""Requests per second that a running batch completes [1/s]; at the largest batch, where an engine saturates.

    .. math:: \lambda = \frac{B}{n \tau(B) + B T_p}

    Parameters
    ----------
    batch : B, running requests. [1]
    decoded_tokens : n, of one request. [tokens]
    decode_time : tau(B), of a step at that batch; with speculation that of a round over its tokens. [s]
    prompt_time : T_p, engine time of one request's prompt. [s]
    """
    rate: Array = batch / (decoded_tokens * decode_time + batch * np.asarray(prompt_time))
    return rate


def batch_at_rate(requests_per_s: Array, rates: np.ndarray) -> Array:
    r"""Batch at which an engine completes so many requests per second [1]: the root of B = lambda n tau(B) / (1 - rho).

    Between whole batches the time B / lambda that a request stays is a straight line, as it is for an affine step;
    below one request it is that of a lone one.

    Parameters
    ----------
    rates : `request_rate` at the batches 1, 2, 3, ... [1/s] shape (batches,)
    requests_per_s : beyond the last rate the last batch is given. [1/s]
    """
    rising = np.maximum.accumulate(rates)
    alone = np.minimum(requests_per_s / rising[0], 1.0)
    if rates.size == 1:
        return np.asarray(alone)
    stays = np.arange(1.0, rates.size + 1.0) / rising
    below = np.clip(np.searchsorted(rising, requests_per_s), 1, rates.size - 1)
    slope = stays[below] - stays[below - 1]
    found = requests_per_s * (stays[below - 1] - below * slope) / np.maximum(1.0 - requests_per_s * slope, 1e-300)
    return np.where(alone < 1.0, alone, np.clip(found, 1.0, rates.size))


def batch_probabilities(
    requests_per_s: Array, decoded_tokens: Array, decode_time: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Chances of 0, 1, ... requests in an engine of at most B running, and of more than B: those wait for a slot [1].

    .. math:: \pi_j \propto \prod_{i \le j} \lambda n \tau(i) / i, \quad
              \pi_j = \pi_B\, r^{j - B}, \quad r = \lambda n \tau(B) / B

    exact for Poisson arrivals and geometric lengths. Processor sharing does not see the law of the lengths beyond its
    mean; waiting for a slot does.

    Parameters
    ----------
    requests_per_s : lambda. [1/s] shape (points,)
    decode_time : tau(1) ... tau(B), prompts inside. [s] shape (batches,) or (points, batches)

    Returns
    -------
    Shapes (points, batches + 1) and (points,). Where :math:`r \ge 1` nothing is stationary: all waits.
    """
    size = np.shape(decode_time)[-1]
    batches = np.arange(1.0, size + 1.0)
    growth = np.atleast_1d(requests_per_s)[:, np.newaxis] * decoded_tokens * decode_time / batches
    logs = np.concatenate(
        [np.zeros((growth.shape[0], 1)), np.cumsum(np.log(np.maximum(growth, 1e-300)), axis=1)], axis=1
    )
    ratio = growth[:, -1]
    is_stable = ratio < 1.0
    logs -= logs.max(axis=1, keepdims=True)
    shares = np.exp(logs)
    beyond = shares[:, -1] * np.where(is_stable, ratio / np.where(is_stable, 1.0 - ratio, 1.0), 0.0)
    total = shares.sum(axis=1) + beyond
    shares, beyond = shares / total[:, np.newaxis], beyond / total
    return np.where(is_stable[:, np.newaxis], shares, 0.0), np.where(is_stable, beyond, 1.0)


def prompt_wait(requests_per_s: Array, prompt_time: Array, squared_time: Array) -> Array:
    r"""Mean wait in front of one server, M/G/1, by Pollaczek and Khinchine [s]; infinite from full load on.

    .. math:: W = \frac{\lambda E[S^2]}{2 (1 - \lambda E[S])}

    Parameters
    ----------
    prompt_time, squared_time : E[S] and E[S^2] of one prompt. [s], [s^2]
    """
    idle = 1.0 - requests_per_s * np.asarray(prompt_time)
    is_stable = idle > 0
    wait: Array = np.where(is_stable, requests_per_s * squared_time / (2.0 * np.where(is_stable, idle, 1.0)), np.inf)
    return wait


def wait_quantile(busy_share: Array, mean_wait: Array, probability: float) -> Array:
    r"""Wait that a share p of requests does not exceed [s].

    .. math:: W_p = \max(0, \ln(\rho / (1 - p))\, W / \rho)

    exact where some wait, with chance rho, exponentially long (M/M/1, M/M/c); an approximation otherwise.
    """
    busy = np.clip(busy_share, 1e-300, 1.0)
    with np.errstate(invalid="ignore"):
        quantile = np.log(busy / (1.0 - probability)) * mean_wait / busy
    found: Array = np.where(busy > 1.0 - probability, quantile, 0.0)
    return found


def clearing_time(requests_per_s: Array, prompt_time: Array, squared_time: Array) -> np.ndarray:
    r"""Mean time for which a request whose prompt is read waits until no other prompt is to be read [s].

    .. math:: (\rho + \lambda W)\, E[S] / (1 - \rho)

    Prompts go before tokens: a prompt leaves as many others behind as an arrival finds on average, and what arrives
    while they are read is read too.
    """
    load = np.minimum(requests_per_s * np.asarray(prompt_time), 1.0 - 1e-9)
    behind = load + requests_per_s * prompt_wait(requests_per_s, load / requests_per_s, squared_time)
    return np.asarray(behind * prompt_time / (1.0 - load))


def interruption_variance(requests_per_s: Array, time: Array, prompt_time: Array, squared_time: Array) -> np.ndarray:
    r"""Variance of how long prompts interrupt decoding that takes a time by itself [s^2].

    Interruptions come as a Poisson process, each a busy period of the queue of prompts:
    :math:`\lambda t E[S^2] / (1 - \rho)^3`.
    """
    load = np.minimum(requests_per_s * np.asarray(prompt_time), 1.0 - 1e-9)
    return np.asarray(requests_per_s * time * squared_time / (1.0 - load) ** 3)


def mixture_quantiles(means: np.ndarray, deviations: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Quantiles of equally likely normal laws, shapes (points, kinds) and (quantiles,) to (points, quantiles)."""
    shape = (means.shape[0], probabilities.size)
    low = np.broadcast_to(np.min(means - 4.0 * deviations, axis=1)[:, np.newaxis], shape)
    high = np.broadcast_to(np.max(means + 4.0 * deviations, axis=1)[:, np.newaxis], shape)
    means, scale = means[:, np.newaxis], 1.0 / np.maximum(deviations, 1e-300)[:, np.newaxis]
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        normal = np.clip((middle[:, :, np.newaxis] - means) * scale, -8.0, 8.0)
        # The normal law within 2e-4, by a hyperbolic tangent.
        below = 0.5 + 0.5 * np.tanh(normal * (0.7978845608 + 0.0356774081 * normal * normal)).mean(axis=2)
        is_below = below < probabilities
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return np.asarray(0.5 * (low + high))


def prefill_ratio(prompt_time: Array, decoded_tokens: Array, batch: Array, decode_time: Array) -> Array:
    r"""Prefill engines that keep one decode engine busy, when served apart [1]: :math:`T_p / (n \tau(B) / B)`."""
    return prompt_time / (decoded_tokens * decode_time / batch)


def transfer_time(moved_bytes: Array, bandwidth: Array, layers: int = 1) -> Array:
    """Time in which a prompt's cache moves to another engine [s].

    Parameters
    ----------
    moved_bytes : of the whole prompt. [B]
    bandwidth : between the two engines. [B/s]
    layers : that are sent while the next ones are computed, so that all but the last are hidden. [1]
    """
    return moved_bytes / np.asarray(bandwidth) / layers


def usd_per_million_tokens(usd_per_hour: Array, tokens_per_s: Array, utilization: Array = 1.0) -> Array:
    """Cost of a million tokens [USD] of devices that cost so much together, busy for a share of the time."""
    return np.asarray(usd_per_hour) / (3600.0 * tokens_per_s * utilization) * 1e6


def joule_per_token(
    *,
    byte_energy: Array,
    moved_bytes: Array,
    flop_energy: Array,
    flop: Array,
    static_power: Array,
    time: Array,
    tokens: Array,
) -> Array:
    """Energy of a token [J]: what moving bytes and computing take, and static power over the time of the step."""
    return (byte_energy * moved_bytes + flop_energy * flop + static_power * time) / tokens


def checked_rate(requests_per_s: Array, name: str = "requests_per_s") -> np.ndarray:
    """Rates of requests as an array.

    Raises
    ------
    DomainError : if one is not finite and positive.
    """
    rates = np.atleast_1d(np.asarray(requests_per_s, dtype=np.float64))
    wrong = ~(np.isfinite(rates) & (rates > 0))
    if wrong.any():
        raise DomainError(f"{name} is {rates[wrong][0]:g}: give a finite number above 0")
    return rates
