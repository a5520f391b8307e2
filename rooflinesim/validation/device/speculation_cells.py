"""Cells of speculation, timed: rounds and plain decode steps of the same rows in turn, all cells from one start."""

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence

from rooflinesim.specs.model import Model
from rooflinesim.validation.device import rules
from rooflinesim.validation.device.clock import Clock
from rooflinesim.validation.device.decoder import CachePool, Decoder, Mark, WeightPool, cache_elements, pool_elements
from rooflinesim.validation.device.placement import placed
from rooflinesim.validation.device.sizes import known_decoder
from rooflinesim.validation.device.speculation import DraftTree, Rows, begin, chain, run_round
from rooflinesim.validation.speculated_rounds import MeasuredCell, MeasuredRound, SpeculationCell

BATCHES = (1, 4, 16)
DRAFT_LENGTHS = (2, 4)
ACCEPTANCE = (0.6, 0.8, 0.95)
TREE = (-1, 0, 0, 1, 2, 3, 4)
"""Two branches of three tokens each."""
TREE_RANKS = (0.6, 0.25)
QUIET = 0.05
"""What the layers after an exit add, so that the exit is right about as often as drafts are."""
CONTEXT = 256
FEWEST_ROUNDS, MOST_ROUNDS = 3, 20
"""Rounds of a cell at one visit."""


def chain_cells(target: str, draft: str, form: str, *, context: int = CONTEXT) -> list[SpeculationCell]:
    """Chains whose tokens are right with a given probability, over batch, draft length and acceptance."""
    return [
        SpeculationCell(
            target=target,
            draft=draft,
            form=form,
            batch=batch,
            context=context,
            parents=chain(length).parents,
            ranks=(share,),
        )
        for batch in BATCHES
        for length in DRAFT_LENGTHS
        for share in ACCEPTANCE
    ]


def other_cells(target: str, draft: str, form: str, *, context: int = CONTEXT) -> list[SpeculationCell]:
    """Trees, early exits that are right as often as they are, and one whose tokens are sampled."""
    layers = max(1, known_decoder(target).layer_count // 7)
    base = SpeculationCell(target=target, draft=draft, form=form, batch=1, context=context, parents=TREE)
    trees = [dataclasses.replace(base, batch=batch, ranks=TREE_RANKS) for batch in BATCHES[:2]]
    exits = [
        dataclasses.replace(base, batch=batch, draft="exit", parents=chain(2).parents, exit_layer=layers)
        for batch in BATCHES[:2]
    ]
    return [*trees, *exits, dataclasses.replace(exits[-1], is_sampled=True)]


class Pair:
    """A target and the drafts of its cells, on one pool of weights and a cache for each.

    Parameters
    ----------
    tokens : that a row may emit beyond its context
    """

    def __init__(self, cells: Sequence[SpeculationCell], *, tokens: int, device: str = "cpu") -> None:
        first = cells[0]
        self.form, self.context, self.tokens, self.device = first.form, first.context, tokens, device
        self.capacity = first.context + tokens + max(len(cell.parents) for cell in cells)
        model = known_decoder(first.target)
        drafts = {cell.draft: known_decoder(cell.draft) for cell in cells if cell.exit_layer is None}
        batch = max(cell.batch for cell in cells)
        pool = WeightPool(max(map(pool_elements, (model, *drafts.values()))), self.form, device=device)
        self.target = Decoder(model, pool, longest=self.capacity)
        self.quiet = Decoder(model, pool, longest=self.capacity)
        exits = {cell.exit_layer for cell in cells if cell.exit_layer is not None}
        for layers in exits:
            self.quiet.quieten(layers, QUIET)
        self._drafts = {name: Decoder(own, pool, longest=self.capacity) for name, own in drafts.items()}
        self._caches = self._pool(model, batch, 1)
        drafting = (*drafts.values(), *((model,) if exits else ()))
        self._draft_caches = self._pool(max(drafting, key=lambda one: cache_elements(one, 1, 1)), batch, 2)

    def _pool(self, model: Model, batch: int, seed: int) -> CachePool:
        return CachePool(cache_elements(model, batch, self.capacity), self.form, device=self.device, seed=seed)

    def decoders(self, cell: SpeculationCell) -> tuple[Decoder, Decoder]:
        """Target and draft of a cell."""
        if cell.exit_layer is None:
            return self.target, self._drafts[cell.draft]
        return self.quiet, self.quiet.exit_after(cell.exit_layer)

    def rows(self, cell: SpeculationCell) -> Rows:
        """Rows of a cell at its start; an exit's cache holds what the target's first layers do."""
        target, draft = self.decoders(cell)
        cache = self._caches.view(target.model, cell.batch, self.capacity)
        draft_cache = self._draft_caches.view(draft.model, cell.batch, self.capacity)
        if cell.exit_layer is not None:
            draft_cache.keys.copy_(cache.keys[: cell.exit_layer])
            draft_cache.values.copy_(cache.values[: cell.exit_layer])
        return begin(target, cache, draft_cache, self.context)


def plain_step(target: Decoder, rows: Rows, mark: Mark) -> None:
    """One plain decode step of all rows, written behind the longest of them so that no row's cache changes."""
    placement = placed([max(rows.lengths)] * len(rows.lengths), 1, form=target.form, device=target.device)
    target.step(rows.last[:, None], placement, rows.cache).argmax(-1).tolist()
    mark("plain")


def measured_cell(
    cell: SpeculationCell, pair: Pair, reference: rules.Reference, clock: Clock, *, rounds: int, visit: int = 0
) -> MeasuredCell:
    """Rounds of a cell from its start, each after a plain step of the same rows; fewer where a row comes to its end."""
    target, draft = pair.decoders(cell)
    rows, tree = pair.rows(cell), DraftTree(cell.parents)
    rule = rule_of(cell, pair, rows, reference, visit)
    found: list[MeasuredRound] = []

    def run(mark: Mark) -> None:
        found_paths.append(run_round(target, draft, rows, tree, rule, mark).paths)

    for _ in range(rounds):
        if max(rows.lengths) + len(cell.parents) > cell.context + pair.tokens:
            break
        found_paths: list[list[list[int]]] = []
        longest = max(rows.lengths)
        plain = clock.timed(lambda mark: plain_step(target, rows, mark)).time
        times = dict(clock.timed(run).marks)
        found.append(
            MeasuredRound(
                draft_time=times["draft"],
                verify_time=times["verify"],
                judge_time=times["judge"],
                refill_time=times.get("refill"),
                plain_step_time=plain,
                kept=tuple(map(len, found_paths[0])),
                longest=longest,
            )
        )
    compared, gaps = _differences(rule, rows, reference)
    return MeasuredCell(cell=cell, rounds=tuple(found), compared=compared, gaps=gaps)


def rule_of(
    cell: SpeculationCell, pair: Pair, rows: Rows, reference: rules.Reference, visit: int
) -> rules.Greedy | rules.Controlled | rules.Sampled:
    """How a cell's drafts are proposed and judged; the same visit of a cell draws the same numbers."""
    seed = random.Random(f"{cell.id} {visit}").randrange(1 << 30)
    if cell.ranks:
        vocabulary = pair.target.model.vocabulary
        return rules.Controlled(reference, rows, cell.ranks, vocabulary=vocabulary, seed=seed)
    return rules.Sampled(seed=seed, device=pair.device) if cell.is_sampled else rules.Greedy()


def _differences(
    rule: rules.Greedy | rules.Controlled | rules.Sampled, rows: Rows, reference: rules.Reference
) -> tuple[int, tuple[float, ...]]:
    """Tokens compared with plain decoding's, and the gaps of those that differ: of each row only the first is told."""
    if isinstance(rule, rules.Sampled):
        return 0, ()
    if isinstance(rule, rules.Controlled):
        return rule.compared, tuple(one.gap for one in rule.differences)
    compared, gaps = 0, []
    for row, emitted in enumerate(rows.emitted):
        for place, token in enumerate(emitted):
            compared += 1
            difference = reference.difference(row, place, token)
            if difference:
                gaps.append(difference.gap)
                break
    return compared, tuple(gaps)


def measured_cells(
    cells: Sequence[SpeculationCell],
    clock: Clock,
    *,
    seconds: float,
    fewest_time: Callable[[Sequence[SpeculationCell]], float],
    visit: int = 0,
    device: str = "cpu",
    now: Callable[[], float],
) -> Iterator[MeasuredCell]:
    """All cells of a pair and format within a time, one after another; each batch has its own plain output.

    Batches get what their fewest rounds are foretold to take, `fewest_time` [s], and even shares of the rest. Those
    that begin more than half of the time too late are left out.
    """
    longest = max(len(cell.parents) for cell in cells)
    pair = Pair(cells, tokens=MOST_ROUNDS * longest, device=device)
    groups = _groups(cells)
    end = now() + seconds
    for index, own in enumerate(groups):
        if index and now() > end + 0.5 * seconds:
            return
        needed = [fewest_time(one) for one in groups[index:]]
        share = needed[0] + max(end - now() - sum(needed), 0.0) / len(needed)
        rounds = _rounds_within(own, pair, share, now)
        tokens = min(pair.tokens, rounds * longest)
        reference = rules.plain_reference(pair.decoders(own[0])[0], pair.rows(own[0]), tokens)
        order = list(own)
        random.Random(index).shuffle(order)
        for cell in order:
            yield measured_cell(cell, pair, reference, clock, rounds=rounds, visit=visit)


def _groups(cells: Sequence[SpeculationCell]) -> list[list[SpeculationCell]]:
    """Cells that share a target, a batch and so a plain output."""
    groups: dict[tuple[int, bool], list[SpeculationCell]] = {}
    for cell in cells:
        groups.setdefault((cell.batch, cell.exit_layer is not None), []).append(cell)
    return list(groups.values())


def _rounds_within(cells: Sequence[SpeculationCell], pair: Pair, seconds: float, now: Callable[[], float]) -> int:
    """Rounds of each cell that fit in a time with the plain output that they need, from one round of each shape.

    A row needs as many plain tokens as it can emit.
    """
    taken, plain = 0.0, 0.0
    shapes = {cell.parents: cell for cell in cells}
    for shape, cell in shapes.items():
        target, draft = pair.decoders(cell)
        rows = pair.rows(cell)
        plain_step(target, rows, _unmarked)
        start = now()
        plain_step(target, rows, _unmarked)
        plain = now() - start
        start = now()
        run_round(target, draft, rows, DraftTree(shape), rules.Greedy(), _unmarked)
        taken += (now() - start + plain) * sum(one.parents == shape for one in cells)
    per_round = taken + plain * max(len(shape) for shape in shapes)
    return int(min(max(seconds / per_round, FEWEST_ROUNDS), MOST_ROUNDS))


def _unmarked(_name: str) -> None:
    pass
