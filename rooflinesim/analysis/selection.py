"""Which points of a grid are wanted: those that an expression over columns admits, or the best by one column."""

import ast
import difflib
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from rooflinesim.analysis.grid import Column, Columns, Grid, Labels, axis_columns, reduced
from rooflinesim.errors import DomainError

MAXIMUM_LENGTH = 2000

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_EXAMPLE = "fits and step_time_s < 0.05 and hardware == 'h100'"
_RISING_IS_BETTER = (
    *("_per_s", "_per_s_per_user", "mbu", "mfu", "on_chip", "batch", "context_tokens", "prompt_tokens"),
    *("speedup", "speedup_low", "speedup_high", "tokens_per_round", "acceptance_rate"),
)


def parsed(text: str, names: Iterable[str]) -> ast.expr:
    """Expression tree of a filter: comparisons and arithmetic of columns, joined by and, or, not.

    Raises
    ------
    DomainError : if it is no such expression or names an unknown column.
    """
    if len(text) > MAXIMUM_LENGTH:
        raise DomainError(f"--filter: {len(text):,} characters are too many; at most {MAXIMUM_LENGTH:,} are read")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise DomainError(f"--filter: {text!r:.100} is no expression; write it like {_EXAMPLE}") from None
    known = tuple(names)
    for node in ast.walk(tree):
        _check(node, text)
        if isinstance(node, ast.Name):
            known_column(node.id, known, "--filter")
    return tree


def known_column(name: str, known: Iterable[str], option: str) -> str:
    """The name of a column, held to those that there are.

    Raises
    ------
    DomainError : if there is none of that name.
    """
    columns = tuple(known)
    if name not in columns:
        close = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(columns)}"
        raise DomainError(f"{option}: no column {name!r:.60}; {hint}")
    return name


def _check(node: ast.AST, text: str) -> None:
    """Refuse whatever is more than comparisons and arithmetic of columns."""
    parts = (ast.expr_context, ast.boolop, ast.unaryop, ast.operator, ast.cmpop)
    if isinstance(node, parts):
        is_known = not isinstance(node, (ast.operator, ast.cmpop)) or type(node) in {
            *_COMPARISONS,
            *_ARITHMETIC,
            ast.In,
            ast.NotIn,
        }
    else:
        kinds = (ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare, ast.Name, ast.Constant, ast.List, ast.Tuple)
        is_known = isinstance(node, kinds)
        if isinstance(node, ast.Constant):
            is_known = isinstance(node.value, (str, int, float))
    if not is_known:
        word = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
        raise DomainError(f"--filter: {word:.60} in {text!r:.100} is not read; write it like {_EXAMPLE}")


def admitted(tree: ast.expr, columns: Columns) -> np.ndarray:
    """Which points a filter admits, shape (points,); unknown values admit nothing.

    Raises
    ------
    DomainError : if words are compared with numbers.
    """
    size = _size(next(iter(columns.values())))
    return np.broadcast_to(_truth(tree, columns), (size,))


def _size(column: Column) -> int:
    return column.codes.size if isinstance(column, Labels) else column.size


def _truth(node: ast.expr, columns: Columns) -> np.ndarray:
    match node:
        case ast.BoolOp():
            parts = [_truth(value, columns) for value in node.values]
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return np.asarray(join.reduce(np.broadcast_arrays(*parts)))
        case ast.UnaryOp(op=ast.Not()):
            return np.asarray(np.logical_not(_truth(node.operand, columns)))
        case ast.Compare():
            sides = [node.left, *node.comparators]
            links = [
                _compared(first, op, second, columns)
                for first, op, second in zip(sides, node.ops, sides[1:], strict=False)
            ]
            return np.asarray(np.logical_and.reduce(np.broadcast_arrays(*links)))
        case ast.Constant(value=bool()):
            return np.asarray(node.value)
    value = _value(node, columns)
    if isinstance(value, Labels) and value.names == (False, True):
        return np.asarray(value.codes == 1)
    raise DomainError(f"--filter: {ast.unparse(node):.60} is neither true nor false; compare it with something")


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, columns: Columns) -> np.ndarray:
    if isinstance(op, (ast.In, ast.NotIn)):
        if not isinstance(right, (ast.List, ast.Tuple)):
            raise DomainError(
                f"--filter: {ast.unparse(right):.60} is no list; write it like hardware in ['h100', 'h200']"
            )
        one_of = [_compared(left, ast.Eq(), item, columns) for item in right.elts] or [np.asarray(False)]
        found = np.asarray(np.logical_or.reduce(np.broadcast_arrays(*one_of)))
        return np.logical_not(found) if isinstance(op, ast.NotIn) else found
    first, second = _value(left, columns), _value(right, columns)
    if isinstance(second, Labels) and not isinstance(first, Labels):
        first, second = second, first
    if not isinstance(first, Labels):
        if isinstance(first, str) or isinstance(second, str):
            raise DomainError(f"--filter: {ast.unparse(left):.60} is a number; compare it with one, in SI units")
        return np.asarray(_COMPARISONS[type(op)](first, second))
    if not isinstance(op, (ast.Eq, ast.NotEq)) or isinstance(second, (Labels, np.ndarray)):
        raise DomainError(f"--filter: {ast.unparse(left):.60} holds words; compare them with == or != and a word")
    wanted = [place for place, name in enumerate(first.names) if name == second]
    is_equal = np.isin(first.codes, wanted)
    return is_equal if isinstance(op, ast.Eq) else ~is_equal & (first.codes >= 0)


def _value(node: ast.expr, columns: Columns) -> Any:
    match node:
        case ast.Name():
            return columns[node.id]
        case ast.Constant():
            return node.value
        case ast.UnaryOp(op=ast.USub()):
            return -_number(node.operand, columns)
        case ast.UnaryOp(op=ast.UAdd()):
            return _number(node.operand, columns)
        case ast.BinOp():
            with np.errstate(divide="ignore", invalid="ignore"):
                return _ARITHMETIC[type(node.op)](_number(node.left, columns), _number(node.right, columns))
    raise DomainError(f"--filter: {ast.unparse(node):.60} is no number; write it like {_EXAMPLE}")


def _number(node: ast.expr, columns: Columns) -> Any:
    value = _value(node, columns)
    if isinstance(value, (Labels, str, bool)):
        raise DomainError(f"--filter: {ast.unparse(node):.60} is no number to reckon with")
    return np.float64(value) if isinstance(value, (int, float)) else value


def without_excluded(grid: Grid, tree: ast.expr) -> Grid:
    """The grid without the values of its axes that a filter excludes whatever the other columns are.

    Raises
    ------
    DomainError : if no value of an axis is left.
    """
    parts = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    for part in parts:
        names = {node.id for node in ast.walk(part) if isinstance(node, ast.Name)}
        axes = axis_columns(grid)
        if len(names) == 1 and (name := next(iter(names))) in axes:
            axis, column = axes[name]
            grid = reduced(grid, axis, admitted(part, {name: column}))
    return grid


def rows_at(columns: Columns, places: np.ndarray) -> dict[str, Column]:
    """The rows of columns at places, or where a mask is true."""
    return {
        name: Labels(codes=column.codes[places], names=column.names) if isinstance(column, Labels) else column[places]
        for name, column in columns.items()
    }


def rises(field: str) -> bool:
    """Whether more of a column is better: of rates, shares and counts it is, of times and bytes it is not."""
    return field.endswith(_RISING_IS_BETTER)


def best(columns: Columns, field: str, count: int, *, largest: bool) -> dict[str, Column]:
    """The first rows by a column, best first; of equal ones those that come first in the grid.

    Raises
    ------
    DomainError : if the column holds words.
    """
    values = columns[field]
    if isinstance(values, Labels):
        raise DomainError(f"--by: {field} holds words; name a column of numbers")
    order = -values if largest else values
    places = np.arange(order.size)
    if count < order.size:
        places = np.flatnonzero(order <= np.partition(order, count - 1)[count - 1])
    return rows_at(columns, places[np.argsort(order[places], kind="stable")][:count])
