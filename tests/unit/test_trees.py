"""Trees and chains: the best equals brute force, a tree of width 1 is a chain, malformed trees are refused."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from rooflinesim.analysis.speculation import chains, tokens, trees
from rooflinesim.analysis.speculation.trees import Tree, TreeBudget, best_tree, parse_tree, tree_tokens
from rooflinesim.errors import DomainError

RANKS = (0.62, 0.14, 0.07, 0.04)


def every_tree(nodes: int) -> Iterator[tuple[int, ...]]:
    """Parents of every ordered tree of so many nodes: each new node hangs from the path to the last one."""

    def grown(parents: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(parents) + 1 == nodes:
            yield parents
            return
        at = len(parents)
        while True:
            yield from grown((*parents, at))
            if at == 0:
                return
            at = parents[at - 1]

    return grown(())


def brute_force(ranks: tuple[float, ...], nodes: int, depth: int) -> float:
    best = 1.0
    for parents in every_tree(nodes):
        path, level, children = [1.0], [0], [0]
        for parent in parents:
            rank = children[parent]
            path.append(path[parent] * (ranks[rank] if rank < len(ranks) else 0.0))
            level.append(level[parent] + 1)
            children[parent] += 1
            children.append(0)
        if max(level) <= depth:
            best = max(best, sum(path))
    return best


def test_every_ordered_tree_is_looked_at() -> None:
    assert [sum(1 for _ in every_tree(n)) for n in range(1, 9)] == [1, 1, 2, 5, 14, 42, 132, 429]


@pytest.mark.parametrize("nodes", range(1, 13))
def test_the_best_tree_of_up_to_12_nodes_is_that_of_all_trees(nodes: int) -> None:
    for ranks, depth in itertools.product([RANKS, (0.9, 0.05), (0.3, 0.25, 0.2, 0.15)], [2, 11]):
        found = best_tree(ranks, nodes, depth)
        assert found.nodes <= nodes
        assert found.depth <= depth
        assert tree_tokens(found, ranks) == pytest.approx(brute_force(ranks, nodes, depth), rel=1e-12)


def test_the_best_tree_is_sequoias_dynamic_programme() -> None:
    nodes, depth = 40, 6
    # best[d][n][c]: tokens of n nodes under a root of at most c children, none deeper than d.
    best = np.full((depth + 1, nodes + 1, len(RANKS) + 1), -np.inf)
    best[:, 1, :] = 1.0
    for d, n, c in itertools.product(range(1, depth + 1), range(2, nodes + 1), range(1, len(RANKS) + 1)):
        added = [best[d, n - m, c - 1] + RANKS[c - 1] * best[d - 1, m].max() for m in range(1, n)]
        best[d, n, c] = max(best[d, n, c - 1], *added)
    table = trees.best_tokens(RANKS, nodes, depth)
    assert table[1:] == pytest.approx(np.maximum.accumulate(best[1:, 1:].max(axis=-1), axis=-1), rel=1e-12)


def test_more_nodes_or_depth_never_emit_less() -> None:
    table = trees.best_tokens(RANKS, 30, 8)
    assert np.all(np.diff(table, axis=0) >= 0)
    assert np.all(np.diff(table, axis=1) >= 0)


def test_published_values_of_the_best_tree() -> None:
    found = [float(tree_tokens(best_tree(RANKS, nodes), RANKS)) for nodes in (4, 8, 16, 32, 64)]
    assert [round(value, 2) for value in found] == [2.24, 2.71, 3.17, 3.61, 4.02]


def test_a_tree_of_width_1_is_a_chain() -> None:
    for length in range(17):
        assert tree_tokens(trees.chain(length), (0.8,)) == pytest.approx(tokens.expected_tokens(length, 0.8))
        assert trees.full_tree([1] * length) == trees.chain(length)
        assert best_tree((0.8,), length + 1) == trees.chain(length)
    survival = trees.tree_survival(trees.chain(3), (0.8, 0.1))
    assert survival == pytest.approx([0.8, 0.64, 0.512])


def test_a_budget_of_one_candidate_is_a_chain_of_its_steps() -> None:
    assert trees.budget_tree(TreeBudget(steps=3, topk=1, nodes=4), RANKS) == trees.chain(3)
    assert trees.budget_tree(TreeBudget(steps=3, topk=1, nodes=99), RANKS) == trees.chain(3)


def test_a_beam_keeps_its_width_per_level() -> None:
    tree = trees.budget_tree(TreeBudget(steps=6, topk=2, nodes=60), (0.4, 0.35, 0.2))
    expanded = {parent for parent in tree.parents if parent}
    levels = trees.node_depths(tree)[sorted(expanded)]
    assert np.bincount(levels)[1:].max() <= 2
    assert tree.nodes == 1 + 2 + 5 * 4


def test_acceptance_of_each_depth() -> None:
    acc = np.array([[0.7, 0.11], [0.5, 0.1]])
    tree = trees.tree_of_paths([[0], [1], [0, 0], [0, 1]])
    assert trees.tree_tokens_by_depth(tree, acc) == pytest.approx(1 + 0.7 + 0.11 + 0.35 + 0.07)
    with pytest.raises(DomainError, match="tree has depth 2: rank probabilities are given for 1 depths"):
        trees.tree_tokens_by_depth(tree, acc[:1])


def test_points_are_aligned() -> None:
    ranks = np.array([[0.6, 0.2], [0.8, 0.1]])
    tree = parse_tree("2x2")
    assert isinstance(tree, Tree)
    assert tree_tokens(tree, ranks) == pytest.approx([tree_tokens(tree, row) for row in ranks])


@pytest.mark.parametrize(
    ("text", "nodes", "depth"),
    [("4x2x1", 1 + 4 + 8 + 8, 3), ("0,0,1,1,2", 6, 2), ("5", 6, 1), ("1x1x1", 4, 3)],
)
def test_trees_are_read(text: str, nodes: int, depth: int) -> None:
    tree = parse_tree(text)
    assert isinstance(tree, Tree)
    assert (tree.nodes, tree.depth) == (nodes, depth)


@pytest.mark.parametrize("text", ["3/4/16", "steps=3 topk=4 draft_tokens=16", " 3 / 4 / 16 "])
def test_budgets_are_read(text: str) -> None:
    assert parse_tree(text) == TreeBudget(steps=3, topk=4, nodes=16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "tree '' is not understood: write steps/topk/nodes like 3/4/16"),
        ("4xx2", "is not understood"),
        ("3/0/16", "tree topk is 0: give 1 to 4096"),
        ("3/4/0", "tree nodes is 0: give 1 to 4096"),
        ("4x0", "tree width is 0: give at least 1 child per node"),
        ("0,2", "tree: the parent of node 2 is 2: give a node before it, 0 to 1"),
        ("99x99", "tree of widths 99x99 has over 4096 nodes: give fewer"),
    ],
)
def test_malformed_trees_are_refused(text: str, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        parse_tree(text)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([[0], [0]], r"tree path \[0\] is empty or stands twice"),
        ([[0, 0]], r"tree path \[0, 0\] stands without \[0\]"),
        ([[1]], r"tree path \[1\] stands without \[0\]"),
    ],
)
def test_paths_that_are_no_tree_are_refused(paths: list[list[int]], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        trees.tree_of_paths(paths)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [((0.1, 0.5), "rank probabilities rise: give them best first"), ((0.7, 0.6), "rank probabilities sum to 1.3")],
)
def test_ranks_that_cannot_be_are_refused(ranks: tuple[float, ...], message: str) -> None:
    with pytest.raises(DomainError, match=message):
        best_tree(ranks, 4)


def test_the_best_draft_length_up_to_16_is_that_of_all_lengths() -> None:
    generator = np.random.default_rng(1)
    rate = generator.random((40, 1))
    times = 1.0 + np.cumsum(generator.random((40, 17)), axis=1) * 0.2
    emitted = tokens.expected_tokens(np.arange(17.0), rate)
    best = chains.best_option(emitted, times)
    for row in range(40):
        assert best[row] == max(range(17), key=lambda k: (emitted[row, k] / times[row, k], -k))


def test_equal_options_give_the_smaller_one() -> None:
    assert chains.best_option([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == 0


def test_break_even_is_where_the_speedup_is_1() -> None:
    rate = chains.break_even_rate(np.array([1.5, 0.9, 7.0]), 1.0, 5)
    assert tokens.expected_tokens(5, rate[0]) == pytest.approx(1.5)
    assert rate[1] == 0.0
    assert rate[2] == np.inf


def test_speculation_loses_from_the_batch_after_which_it_never_pays_again() -> None:
    assert chains.losing_from([1.5, 0.9, 1.2, 0.8, 0.7]) == 3
    assert chains.losing_from([0.9, 0.8]) == 0
    assert chains.losing_from([1.0, 1.0]) == 2


def test_lengths_are_dealt_to_the_sequences_that_accept_most() -> None:
    rates = np.array([0.9, 0.5, 0.1])

    def time(drafted: np.ndarray) -> np.ndarray:
        return 1.0 + 0.05 * drafted + 0.03 * drafted**2

    found = chains.dealt_lengths(rates, 3, time)

    def goodput(lengths: tuple[int, ...]) -> float:
        emitted = sum(float(tokens.expected_tokens(k, a)) for k, a in zip(lengths, rates, strict=True))
        return emitted / float(time(np.array(float(sum(lengths)))))

    assert goodput(tuple(found)) == pytest.approx(max(map(goodput, itertools.product(range(4), repeat=3))))
    assert list(found) == sorted(found, reverse=True)


def test_the_best_tree_for_given_round_times_is_that_of_all_trees() -> None:
    generator = np.random.default_rng(3)
    nodes, deepest = 9, 8
    for _ in range(5):
        # Rounds take longer with every node verified and every draft pass, by random amounts.
        time = 1.0 + np.cumsum(generator.random((deepest + 1, nodes)) * 0.1, axis=1)
        time = np.cumsum(time, axis=0) / (1 + np.arange(deepest + 1))[:, np.newaxis] + 0.2 * np.arange(9)[:, np.newaxis]
        every = [Tree(parents=parents) for size in range(1, nodes + 1) for parents in every_tree(size)]
        gains = [float(tree_tokens(tree, RANKS)) / time[tree.depth, tree.nodes - 1] for tree in every]
        table = trees.best_tokens(RANKS, nodes, deepest)
        found = int(chains.best_option(table.ravel(), time.ravel()))
        assert table.ravel()[found] / time.ravel()[found] == pytest.approx(max(gains), rel=1e-12)
