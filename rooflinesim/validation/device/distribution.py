"""Whether what is sampled is distributed as the target's own samples: exact probabilities, and a test of counts."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from rooflinesim.validation.device.decoder import Cache, CachePool, Decoder, WeightPool, cache_elements, pool_elements
from rooflinesim.validation.device.placement import placed
from rooflinesim.validation.device.rules import Sampled
from rooflinesim.validation.device.sizes import decoder_model
from rooflinesim.validation.device.speculation import DraftTree, Rows, begin, run_round

CONTEXT = 12

MICRO = decoder_model("micro", hidden_size=32, layers=2, heads=2, kv_heads=1, width=64, vocabulary=6)
"""A target of six tokens, whose 36 pairs a few thousand samples fill."""

SHARPNESS = 40.0
"""Scale of the scores: those of so narrow a model are otherwise too even to tell a wrong rule from a right one."""


def sampling_probability(
    tree: DraftTree, form: str = "fp32", *, samples: int = 3000, rule: Sampled | None = None, device: str = "cpu"
) -> float:
    """Probability that pairs of tokens lie as far from the target's own distribution as those that speculation emits.

    Equal rows of a tiny target are drafted for by another tiny model until each has emitted two tokens.
    """
    target = _sharp(Decoder(MICRO, WeightPool(pool_elements(MICRO), form, device=device), longest=64))
    draft = _sharp(Decoder(MICRO, WeightPool(pool_elements(MICRO), form, device=device, seed=5), longest=64))
    rule = rule or Sampled(seed=11, device=device)
    single = begin(target, _cache(form, device, 1), _cache(form, device, 2), CONTEXT)
    rows = Rows(
        lengths=[CONTEXT] * samples,
        last=single.last.repeat(samples),
        cache=_repeated(single.cache, samples),
        draft_cache=_repeated(single.draft_cache, samples),
        emitted=[[] for _ in range(samples)],
    )
    while min(map(len, rows.emitted)) < 2:
        run_round(target, draft, rows, tree, rule, lambda _name: None)
    counts = torch.zeros(MICRO.vocabulary, MICRO.vocabulary)
    for first, second, *_ in rows.emitted:
        counts[first, second] += 1
    return chi_square_probability(
        counts.flatten(), pair_distribution(target, single, rule.probabilities).cpu().flatten()
    )


def _sharp(decoder: Decoder) -> Decoder:
    decoder.head = decoder.head * SHARPNESS
    return decoder


def _cache(form: str, device: str, seed: int) -> Cache:
    return CachePool(cache_elements(MICRO, 1, 48), form, device=device, seed=seed).view(MICRO, 1, 48)


def _repeated(cache: Cache, samples: int) -> Cache:
    return dataclasses.replace(
        cache, keys=cache.keys.repeat(1, samples, 1, 1, 1), values=cache.values.repeat(1, samples, 1, 1, 1)
    )


def pair_distribution(target: Decoder, rows: Rows, probabilities: Callable[[Tensor], Tensor]) -> Tensor:
    """Exact distribution of the next two tokens of a single row by the target alone, shape (vocabulary, vocabulary)."""
    vocabulary = target.model.vocabulary
    first = placed(rows.lengths, 1, form=target.form, device=target.device)
    of_first = probabilities(target.step(rows.last[:, None], first, rows.cache))[0, 0]
    second = placed([length + 1 for length in rows.lengths], 1, form=target.form, device=target.device)
    of_second = [
        probabilities(target.step(torch.full_like(rows.last[:, None], token), second, rows.cache))[0, 0]
        for token in range(vocabulary)
    ]
    return of_first[:, None] * torch.stack(of_second)


def chi_square_probability(counts: Tensor, exact: Tensor) -> float:
    """Probability that counts lie as far from an exact distribution as these, by Pearson's statistic [1].

    Outcomes expected fewer than 5 times count together. The statistic's cube root is taken as normal (Wilson and
    Hilferty), which is within a tenth of the probability down to 0.001.
    """
    expected = exact.double() * counts.sum().double()
    is_rare = expected < 5.0
    seen = torch.cat([counts[~is_rare].double(), counts[is_rare].sum().double()[None]])
    expected = torch.cat([expected[~is_rare], expected[is_rare].sum()[None]])
    seen, expected = seen[expected > 0], expected[expected > 0]
    freedom = seen.numel() - 1
    statistic = float(((seen - expected) ** 2 / expected).sum())
    width = 2.0 / (9.0 * freedom)
    return 0.5 * math.erfc(((statistic / freedom) ** (1 / 3) - (1.0 - width)) / math.sqrt(2.0 * width))
