"""How drafts are proposed and judged: greedily, greedily with a controlled share kept, or by rejection sampling."""

import dataclasses
import math
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from rooflinesim.validation.device.decoder import Decoder, placed
from rooflinesim.validation.device.speculation import DraftTree, Rows, Verdict


class Greedy:
    """The draft's likeliest tokens, kept while they are the target's."""

    def propose(self, scores: Tensor, tree: DraftTree, depth: int) -> Tensor:
        """The likeliest tokens of each node, one per child."""
        places, ranks = tree.level(depth)
        best = scores.topk(max(ranks) + 1).indices if any(ranks) else scores.argmax(-1, keepdim=True)
        return best[:, places, ranks]

    def judge(self, scores: Tensor, proposed: Tensor, tree: DraftTree) -> Verdict:
        """The path of the target's likeliest tokens, as far as it was proposed."""
        return followed(scores.argmax(-1).tolist(), proposed.tolist(), tree)


def followed(wanted: Sequence[Sequence[int]], proposed: Sequence[Sequence[int]], tree: DraftTree) -> Verdict:
    """What is kept of each row's tree where one token is wanted after each node."""
    paths, last = [], []
    for own, tokens in zip(wanted, proposed, strict=True):
        path, node = list[int](), 0
        while (found := next((one for one in tree.children(node) if tokens[one] == own[node]), None)) is not None:
            path.append(found)
            node = found
        paths.append(path)
        last.append(own[node])
    return Verdict(paths=paths, tokens=last)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """A token that verification chose, but plain decoding did not, after the same tokens.

    `gap` is how far plain decoding scored the chosen token below its own, in units of the last place of its own score
    in bf16: up to 4 is a near tie, which another order of summation decides.
    """

    row: int
    place: int
    gap: float

    @property
    def is_near_tie(self) -> bool:
        """Whether the kernels' rounding explains it."""
        return self.gap <= NEAR_TIE


NEAR_TIE = 4.0
"""Largest gap of a near tie, in units of the last place of a bf16 score."""


def last_place(score: float) -> float:
    """Unit of the last place of a score in bf16, which has 8 significant bits."""
    return 2.0 ** (math.floor(math.log2(max(abs(score), 1e-30))) - 7)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """What plain greedy decoding emits after the same context, and its scores, shape (tokens, batch, vocabulary)."""

    tokens: list[list[int]]
    scores: Tensor

    def difference(self, row: int, place: int, token: int) -> Difference | None:
        """How another token at a place differs; None where it is the same."""
        own = self.tokens[row][place]
        if token == own:
            return None
        top, other = (float(self.scores[place, row, one]) for one in (own, token))
        return Difference(row=row, place=place, gap=(top - other) / last_place(top))


def plain_reference(target: Decoder, rows: Rows, tokens: int) -> Reference:
    """Plain greedy decoding of some tokens of each row, which begin where the rows stand; the rows do not advance."""
    last, found, scores = rows.last, [], []
    for done in range(tokens):
        placement = placed([start + done for start in rows.lengths], 1, form=target.form, device=target.device)
        own = target.step(last[:, None], placement, rows.cache)[:, 0]
        last = own.argmax(-1)
        found.append(last)
        scores.append(own.cpu())
    return Reference(tokens=torch.stack(found, 1).tolist(), scores=torch.stack(scores))


class Controlled(Greedy):
    """Greedy speculation with a draft that is right as often as one wants, at the cost of a real one.

    The draft runs in full, and then the token that plain decoding emits next takes the place of the child of rank c
    with probability `ranks[c]`; all other tokens on the right path are made wrong. Judgement is that of greedy
    speculation: the draft is kept as far as the target agrees. Where the target chooses another token than in plain
    decoding the difference is noted, and plain decoding's is taken, so that every further token is compared after the
    same ones.
    """

    def __init__(self, reference: Reference, rows: Rows, ranks: Sequence[float], *, vocabulary: int, seed: int) -> None:
        self.reference, self.rows, self.ranks, self.vocabulary = reference, rows, tuple(ranks), vocabulary
        self.differences: list[Difference] = []
        self.compared = 0
        self._drawn = random.Random(seed)
        self._right: list[list[int]] = []

    def propose(self, scores: Tensor, tree: DraftTree, depth: int) -> Tensor:
        """The draft's tokens, those on the right path replaced."""
        tokens = super().propose(scores, tree, depth)
        if depth == 1:
            self._right = [[0] for _ in self.rows.lengths]
        first = sum(tree.widths[:depth])
        given: list[tuple[int, int, int]] = []
        for row, path in enumerate(self._right):
            if len(path) < depth:
                continue
            own = self._wanted(row, depth - 1)
            children = tree.children(path[-1])
            chosen = self._child(children)
            given.extend(
                (row, child - first, own if child == chosen else (own + 1 + child) % self.vocabulary)
                for child in children
            )
            if chosen is not None:
                path.append(chosen)
        if given:
            row_, place, token = (torch.tensor(column, device=tokens.device) for column in zip(*given, strict=True))
            tokens[row_, place] = token
        return tokens

    def judge(self, scores: Tensor, proposed: Tensor, tree: DraftTree) -> Verdict:
        """Greedy judgement; where the target chooses another token than plain decoding, that is noted."""
        wanted = scores.argmax(-1).tolist()
        for row, path in enumerate(self._right):
            for step, node in enumerate(path):
                difference = self.reference.difference(row, len(self.rows.emitted[row]) + step, wanted[row][node])
                if difference:
                    self.differences.append(difference)
                wanted[row][node] = self._wanted(row, step)
            self.compared += len(path)
        return followed(wanted, proposed.tolist(), tree)

    def _wanted(self, row: int, step: int) -> int:
        """What plain decoding emits so many tokens after what a row has emitted."""
        return self.reference.tokens[row][len(self.rows.emitted[row]) + step]

    def _child(self, children: Sequence[int]) -> int | None:
        """The child that is right, drawn by rank; None where no child is."""
        drawn = self._drawn.random()
        for child, share in zip(children, self.ranks, strict=False):
            if drawn < share:
                return child
            drawn -= share
        return None


class Sampled:
    """Rejection sampling: what is emitted is distributed as the target's own samples.

    Children are drawn from the draft's distribution q one by one; each is kept with probability min(1, p/q), else p
    becomes max(0, p - q), normalised. Where none is kept, the token is drawn from what is left of p.

    References
    ----------
    .. [1] Leviathan, Kalman, Matias. 2023, arXiv 2211.17192, algorithm 1, for a single child.
    .. [2] Miao et al. SpecInfer. 2023, arXiv 2305.09781, multi-step speculative sampling.
    """

    def __init__(self, *, temperature: float = 1.0, seed: int = 0, device: str = "cpu") -> None:
        self.temperature = temperature
        self._generator = torch.Generator(device=device).manual_seed(seed)
        self._drafted: list[Tensor] = []

    def probabilities(self, scores: Tensor) -> Tensor:
        """Distributions of the next token, in 64 bits so that differences of small ones hold."""
        return (scores.double() / self.temperature).softmax(-1)

    def draw(self, probabilities: Tensor, samples: int = 1) -> Tensor:
        """Tokens drawn with replacement, shape (..., samples)."""
        flat = probabilities.reshape(-1, probabilities.shape[-1])
        drawn = torch.multinomial(flat, samples, replacement=True, generator=self._generator)
        return drawn.view(*probabilities.shape[:-1], samples)

    def propose(self, scores: Tensor, tree: DraftTree, depth: int) -> Tensor:
        """Children drawn from the draft's distribution at their parent."""
        if depth == 1:
            self._drafted = []
        places, ranks = tree.level(depth)
        drafted = self.probabilities(scores)
        self._drafted.append(drafted)
        return self.draw(drafted, max(ranks) + 1)[:, places, ranks]

    def judge(self, scores: Tensor, proposed: Tensor, tree: DraftTree) -> Verdict:
        """Children kept one by one, and a token from what is left."""
        wanted, drafted = self.probabilities(scores), torch.cat(self._drafted, 1)
        batch, nodes = proposed.shape
        uniform = torch.rand(batch, nodes, generator=self._generator, device=proposed.device).tolist()
        tokens = proposed.tolist()
        paths, left = [], []
        for row in range(batch):
            path, node = list[int](), 0
            p = wanted[row, 0]
            while True:
                found = None
                for child in tree.children(node):
                    token, q = tokens[row][child], drafted[row, node]
                    if uniform[row][child] * float(q[token]) < float(p[token]):
                        found = child
                        break
                    p = (p - q).clamp_min(0)
                    p = p / p.sum()
                if found is None:
                    break
                path.append(found)
                node, p = found, wanted[row, found]
            paths.append(path)
            left.append(p)
        return Verdict(paths=paths, tokens=self.draw(torch.stack(left))[:, 0].tolist())
