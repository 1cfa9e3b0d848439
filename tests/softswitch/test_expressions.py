# SPDX-License-Identifier: Apache-2.0
"""Compiled expressions against an oracle that walks the model, over random expressions and values."""

from __future__ import annotations

from typing import Any

from hvchannel_softswitch.interpreter.compile_expressions import boolean, number
from hvchannel_softswitch.interpreter.names import Names, Usage
from hvchannel_softswitch.interpreter.runtime import RUNTIME
from hvchannel_softswitch.model import expressions as ex
from hypothesis import given, settings
from hypothesis import strategies as st

WIDTHS = (1, 8, 48, 128)

numbers: st.SearchStrategy[ex.Expression] = st.deferred(
    lambda: leaves | arithmetic | unary | conditional | b2d
)
booleans: st.SearchStrategy[ex.Expression] = st.deferred(
    lambda: st.builds(ex.BoolConst, st.booleans()) | comparison | logic
)
leaves = st.builds(ex.Const, st.integers(-(2**64), 2**128)) | st.builds(
    lambda i: ex.ParamRef(i, WIDTHS[i]), st.integers(0, len(WIDTHS) - 1)
)
arithmetic = st.builds(
    ex.Binary, st.sampled_from(["+", "-", "*", "/", "%", "<<", ">>", "&", "|", "^"]), numbers, numbers
) | st.builds(
    ex.Binary,
    st.sampled_from(["two_comp_mod", "sat_cast", "usat_cast"]),
    numbers,
    st.builds(ex.Const, st.integers(1, 128)),
)
unary = st.builds(ex.Unary, st.sampled_from(["~", "-"]), numbers)
conditional = st.builds(ex.Conditional, booleans, numbers, numbers)
b2d = st.builds(ex.Unary, st.just("b2d"), booleans)
comparison = st.builds(
    ex.Binary, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), numbers, numbers
) | st.builds(ex.Unary, st.just("d2b"), numbers)
logic = (
    st.builds(ex.Binary, st.sampled_from(["and", "or", "==", "!="]), booleans, booleans)
    | st.builds(ex.Unary, st.just("not"), booleans)
    | st.builds(ex.Conditional, booleans, booleans, booleans)
)
params = st.tuples(*(st.integers(0, 2**width - 1) for width in WIDTHS))

LONGEST_SHIFT = 2**13


def oracle(expression: ex.Expression, args: tuple[int, ...]) -> Any:
    """What P4 (and bmv2's unbounded numbers) make of an expression."""
    match expression:
        case ex.Const(value=value) | ex.BoolConst(value=value):
            return value
        case ex.ParamRef(index=index):
            return args[index]
        case ex.Unary(op=op, operand=operand):
            value = oracle(operand, args)
            return {"~": lambda: ~value, "-": lambda: -value, "not": lambda: not value}.get(
                op, lambda: bool(value) if op == "d2b" else int(value)
            )()
        case ex.Conditional(condition=condition, left=left, right=right):
            return oracle(left if oracle(condition, args) else right, args)
        case ex.Binary(op=op, left=left, right=right):
            return binary(op, oracle(left, args), oracle(right, args))
    raise AssertionError(expression)


def binary(op: str, a: Any, b: Any) -> Any:
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            return 0 if b == 0 else (abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1)
        case "%":
            return 0 if b == 0 else a - b * binary("/", a, b)
        case "<<":
            return a << max(0, min(b, LONGEST_SHIFT))
        case ">>":
            return a >> max(0, b)
        case "&":
            return a & b
        case "|":
            return a | b
        case "^":
            return a ^ b
        case "two_comp_mod":
            low = a % 2**b
            return low - 2**b if low >= 2 ** (b - 1) else low
        case "sat_cast":
            return min(max(a, -(2 ** (b - 1))), 2 ** (b - 1) - 1)
        case "usat_cast":
            return min(max(a, 0), 2**b - 1)
        case "and":
            return a and b
        case "or":
            return a or b
        case _:
            return {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]


def names() -> Names:
    """Names for expressions that mention no header."""
    from types import SimpleNamespace

    kinds = ("headers", "stacks", "tables", "counters", "meters", "registers", "calculations", "value_sets")
    empty: Any = SimpleNamespace(**{kind: {} for kind in kinds})
    return Names(empty, Usage())


@settings(max_examples=400, deadline=None)
@given(expression=numbers, args=params)
def test_numbers(expression: ex.Expression, args: tuple[int, ...]) -> None:
    code = number(expression, names())
    value = eval(code.text, dict(RUNTIME) | {f"p{i}": arg for i, arg in enumerate(args)})
    assert value == oracle(expression, args)
    if code.bits is not None:
        assert 0 <= value < 2**code.bits, "a store may skip its mask because of this bound"


@settings(max_examples=200, deadline=None)
@given(expression=booleans, args=params)
def test_booleans(expression: ex.Expression, args: tuple[int, ...]) -> None:
    text = boolean(expression, names())
    value = eval(text, dict(RUNTIME) | {f"p{i}": arg for i, arg in enumerate(args)})
    assert bool(value) == oracle(expression, args)
