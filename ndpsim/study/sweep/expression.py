"""Arithmetic on the columns of a result, read through `ast`: nothing is ever executed.

An expression knows numbers, text, names of results (``e2e_s``, ``energy_j.gpu``) and of the
configuration (``system.ndp.count``; quantities are numbers in base units), ``+ - * / // % **``,
comparisons, ``and or not``, ``a if b else c``, tables ``{"rtx-5080": 999}[system.gpu.name]`` and a
few functions.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pydantic import BaseModel

from ndpsim.errors import ConfigError, nearest

MAX_LENGTH: Final = 2000
"""Characters of an expression."""

_BINARY: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: math.pow,
}
_COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _total(values: Any) -> Any:
    return sum(_numbers(values))


def _largest(*values: Any) -> Any:
    return max(_numbers(values[0] if len(values) == 1 else values))


def _smallest(*values: Any) -> Any:
    return min(_numbers(values[0] if len(values) == 1 else values))


_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": abs,
    "ceil": math.ceil,
    "exp": math.exp,
    "floor": math.floor,
    "log": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "max": _largest,
    "min": _smallest,
    "sqrt": math.sqrt,
    "sum": _total,
}

Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class Expression:
    """A checked expression."""

    where: str
    """Opens its error lines."""
    text: str

    def __post_init__(self) -> None:
        _check(self._tree, self)

    @cached_property
    def _tree(self) -> ast.expr:
        if len(self.text) > MAX_LENGTH:
            raise ConfigError(self.where, f"longer than {MAX_LENGTH} characters")
        try:
            return ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ConfigError(self.where, f"'{self.text}' is not an expression") from None

    @property
    def names(self) -> list[str]:
        """First parts of the names it reads."""
        return sorted({str(steps[0]) for steps in self.paths})

    @property
    def paths(self) -> list[Steps]:
        """All names it reads, in steps."""
        return _reads(self._tree)

    def value(self, *scopes: Mapping[str, Any]) -> Any:
        """A finite number, truth value or text; a name belongs to the first scope that has it.

        Raises
        ------
        ConfigError
            It cannot be computed.
        """
        try:
            return _plain(_value(self._tree, scopes))
        except _Fault as fault:
            raise ConfigError(self.where, f"'{self.text}': {fault}") from None
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ConfigError(self.where, f"'{self.text}': {error}") from None

    def violation(self, *scopes: Mapping[str, Any]) -> float:
        """By how much a constraint, a comparison of two numbers, is missed; <= 0 if it is met."""
        tree = self._tree
        assert isinstance(tree, ast.Compare)
        try:
            left = _number(_value(tree.left, scopes))
            right = _number(_value(tree.comparators[0], scopes))
        except _Fault as fault:
            raise ConfigError(self.where, f"'{self.text}': {fault}") from None
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ConfigError(self.where, f"'{self.text}': {error}") from None
        return float(left - right if isinstance(tree.ops[0], ast.LtE) else right - left)


def constraint(where: str, text: str) -> Expression:
    """An expression of the form ``a <= b`` or ``a >= b``."""
    expression = Expression(where, text)
    tree = expression._tree
    if not (
        isinstance(tree, ast.Compare)
        and len(tree.ops) == 1
        and isinstance(tree.ops[0], ast.LtE | ast.GtE)
    ):
        raise ConfigError(where, f"'{text}' is not a constraint of the form a <= b or a >= b")
    return expression


class _Fault(Exception):  # noqa: N818 - a reason, turned into a `ConfigError` at once
    """Why an expression has no value."""


def _check(node: ast.AST, expression: Expression, depth: int = 0) -> None:
    """Refuse every construct but those of the module's docstring."""
    if depth > 50:
        raise ConfigError(expression.where, "nested deeper than 50 levels")
    fault = _refused(node)
    if fault:
        raise ConfigError(expression.where, f"'{expression.text}': {fault}")
    inner = node.args if isinstance(node, ast.Call) else list(ast.iter_child_nodes(node))
    for child in inner:
        if not isinstance(child, ast.operator | ast.unaryop | ast.cmpop | ast.boolop | ast.Load):
            _check(child, expression, depth + 1)


def _refused(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else "?"
        if name not in _FUNCTIONS or node.keywords:
            known = ", ".join(_FUNCTIONS)
            return f"unknown function; known: {known}{nearest(name, _FUNCTIONS)}"
    elif isinstance(node, ast.BinOp):
        if type(node.op) not in _BINARY:
            return "an operator that is not allowed"
    elif isinstance(node, ast.Compare):
        if any(type(op) not in _COMPARE for op in node.ops):
            return "a comparison that is not allowed"
    elif isinstance(node, ast.Constant):
        if not isinstance(node.value, int | float | str):
            return "a constant that is neither a number nor text"
    elif isinstance(node, ast.UnaryOp):
        if not isinstance(node.op, ast.USub | ast.UAdd | ast.Not):
            return "an operator that is not allowed"
    elif isinstance(node, ast.Dict):
        if any(key is None for key in node.keys):
            return "** is not allowed"
    elif isinstance(node, ast.Attribute):
        if node.attr.startswith("_"):
            return f"unknown name '{node.attr}'"
    elif not isinstance(node, ast.BoolOp | ast.IfExp | ast.Name | ast.Subscript):
        return f"{type(node).__name__} is not allowed"
    return ""


def _steps(node: ast.AST) -> Steps | None:
    """The path of ``a.b["c"][0]``; None for anything else."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        head = _steps(node.value)
        return None if head is None else (*head, node.attr)
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str | int)
    ):
        head = _steps(node.value)
        return None if head is None else (*head, node.slice.value)
    return None


def _reads(node: ast.AST) -> list[Steps]:
    steps = _steps(node)
    if steps is not None:
        return [steps]
    inner = node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node)
    return [found for child in inner for found in _reads(child)]


def _value(node: ast.AST, scopes: tuple[Mapping[str, Any], ...]) -> Any:
    steps = _steps(node)
    if steps is not None:
        return _lookup(steps, scopes)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, scopes)
        if isinstance(node.op, ast.Not):
            return not value
        return -_number(value) if isinstance(node.op, ast.USub) else _number(value)
    if isinstance(node, ast.BinOp):
        left, right = (_number(_value(side, scopes)) for side in (node.left, node.right))
        return _BINARY[type(node.op)](left, right)
    if isinstance(node, ast.Compare):
        return _compare(node, scopes)
    if isinstance(node, ast.BoolOp):
        parts = (bool(_value(value, scopes)) for value in node.values)
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.IfExp):
        return _value(node.body if _value(node.test, scopes) else node.orelse, scopes)
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        return _FUNCTIONS[node.func.id](*(_value(arg, scopes) for arg in node.args))
    if isinstance(node, ast.Dict):
        keys = (_value(key, scopes) for key in node.keys if key is not None)
        return dict(zip(keys, (_value(value, scopes) for value in node.values), strict=True))
    assert isinstance(node, ast.Subscript)
    return _item(_value(node.value, scopes), _value(node.slice, scopes))


def _compare(node: ast.Compare, scopes: tuple[Mapping[str, Any], ...]) -> bool:
    left = _value(node.left, scopes)
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        right = _value(right_node, scopes)
        if not _COMPARE[type(op)](left, right):
            return False
        left = right
    return True


def _lookup(steps: Steps, scopes: tuple[Mapping[str, Any], ...]) -> Any:
    scope = next((scope for scope in scopes if steps[0] in scope), None)
    if scope is None:
        raise _Fault(f"unknown name '{steps[0]}'")
    value = scope[str(steps[0])]
    for step in steps[1:]:
        value = _item(value, step)
    return value


def _item(value: Any, step: Any) -> Any:
    """One step down into a table, a list or a spec's fields."""
    if isinstance(value, BaseModel):
        known = list(type(value).model_fields)
        if step in known:
            return getattr(value, step)
        raise _Fault(f"no field '{step}'{nearest(str(step), known)}")
    if isinstance(value, Mapping):
        if step in value:
            return value[step]
        raise _Fault(f"no entry '{step}' in {', '.join(map(str, value)) or 'an empty table'}")
    if isinstance(value, list | tuple) and isinstance(step, int) and 0 <= step < len(value):
        return value[step]
    raise _Fault(f"nothing has an entry '{step}'" if value is None else f"no entry '{step}'")


def _number(value: Any) -> Any:
    if isinstance(value, int | float):
        return value
    raise _Fault("a value is missing" if value is None else f"'{value}' is not a number")


def _numbers(values: Any) -> list[Any]:
    if isinstance(values, Mapping):
        values = values.values()
    if isinstance(values, int | float | str):
        values = [values]
    return [_number(value) for value in values]


def _plain(value: Any) -> Any:
    if isinstance(value, bool | str):
        return value
    number = _number(value)
    if isinstance(number, float) and not math.isfinite(number):
        raise _Fault("the value is not finite")
    return number
