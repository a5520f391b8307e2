"""Whether what is sampled is distributed as the target's own samples: exact probabilities, and a test of counts."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rooflinesim.validation.device.decoder import Decoder, placed
from rooflinesim.validation.device.speculation import Rows


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
