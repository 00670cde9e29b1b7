"""What each operation of a compiled program computes and moves, read from its HLO text.

XLA's own cost analysis has sums of a whole program alone; here the same counts stand an operation.
A multiplication and an addition are two operations. Unlike XLA's, products with padding count too.
"""

import re
from collections.abc import Iterator
from math import prod
from typing import NamedTuple

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%([\w.-]+) \(.*\{$")
_BYTES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "c64": 8, "c128": 16}
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call"}
_PICKING = {"gather", "dynamic-slice"}
_ELEMENTWISE = {
    *("add", "subtract", "multiply", "divide", "maximum", "minimum", "negate", "abs", "power"),
    *("exponential", "log", "tanh", "sqrt", "rsqrt", "compare", "select", "and", "or", "xor"),
}


class OperationCost(NamedTuple):
    """One operation of a program.

    Attributes:
      opcode: what XLA calls it; source: the layer and the call that it comes from.
      flops, moved_bytes: what it computes, and what it reads and writes, each time.
    """

    opcode: str
    source: str
    flops: float
    moved_bytes: float


class _Line(NamedTuple):
    name: str
    shape: str
    opcode: str
    rest: str  # operands and attributes


def count_costs(text: str) -> dict[str, OperationCost]:
    """The cost of every operation of a program by name; `text` as `compiled.as_text()` gives it."""
    computations = dict(_computations(text))
    shapes = {line.name: line.shape for lines in computations.values() for line in lines}

    def flops(line: _Line) -> float:
        called = re.search(r"calls=%([\w.-]+)", line.rest)
        if called:
            return sum(map(flops, computations.get(called[1], ())))
        return _own_flops(line, shapes)

    return {
        line.name: OperationCost(
            line.opcode,
            _source(line.rest),
            flops(line),
            0.0 if line.opcode in _FREE else _moved(line, shapes, computations),
        )
        for lines in computations.values()
        for line in lines
    }


def _computations(text: str) -> Iterator[tuple[str, list[_Line]]]:
    name, lines = "", list[_Line]()
    for row in text.splitlines():
        heading, instruction = _COMPUTATION.match(row), _INSTRUCTION.match(row)
        if heading:
            name, lines = heading[1], []
        elif instruction and name:
            lines.append(_Line(*instruction.groups()))
        elif row.startswith("}") and name:
            yield name, lines
            name = ""


def _dimensions(shape: str) -> tuple[int, ...]:
    match = _SHAPE.search(shape)
    return tuple(int(n) for n in match[2].split(",") if n) if match else ()


def _operands(line: _Line) -> list[str]:
    return re.findall(r"%([\w.-]+)", line.rest.split(")")[0])


def _own_flops(line: _Line, shapes: dict[str, str]) -> float:
    size = prod(_dimensions(line.shape))
    if line.opcode == "convolution":
        kernel = _dimensions(shapes[_operands(line)[1]])
        features = re.search(r"dim_labels=\w+_(\w+)->", line.rest)
        out = kernel[features[1].index("o")] if features else 1
        return 2.0 * size * prod(kernel) / out
    compiled = re.search(r'custom_call_target="medjax_\w+_(forward|kernel_gradient)"', line.rest)
    if line.opcode == "custom-call" and compiled:
        other = _dimensions(shapes[_operands(line)[1]])
        kernel = other if compiled[1] == "forward" else _dimensions(line.shape)
        pixels = size if compiled[1] == "forward" else prod(other)
        return 2.0 * pixels * prod(kernel[:-1])
    if line.opcode == "dot":
        left = _dimensions(shapes[_operands(line)[0]])
        summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line.rest)
        axes = [int(n) for n in summed[1].split(",") if n] if summed else []
        return 2.0 * size * prod(left[axis] for axis in axes)
    if line.opcode in ("reduce", "reduce-window"):
        return float(prod(_dimensions(shapes[_operands(line)[0]])))
    return float(size) if line.opcode in _ELEMENTWISE else 0.0


def _moved(line: _Line, shapes: dict[str, str], computations: dict[str, list[_Line]]) -> float:
    """Bytes of what it reads and writes; of an array that is picked from, what is picked."""
    read = [_size(shapes.get(name, "")) for name in _operands(line)]
    called = re.search(r"calls=%([\w.-]+)", line.rest)
    inside = computations.get(called[1], []) if called else []
    for part in inside:
        if part.opcode == "parameter" and (number := int(part.rest.split(")")[0])) < len(read):
            uses = [user for user in inside if part.name in _operands(user)]
            if uses and all(_picks_from(user, part.name) for user in uses):
                read[number] = sum(_size(user.shape) for user in uses)
    if read and line.opcode in _PICKING:
        read[0] = _size(line.shape)
    return _size(line.shape) + sum(read)


def _picks_from(line: _Line, name: str) -> bool:
    """Whether it reads a part of that array alone."""
    return line.opcode in _PICKING and _operands(line)[0] == name


def _size(shape: str) -> float:
    """Bytes of an array, or of all of a tuple."""
    return sum(
        _BYTES.get(kind, int(re.sub(r"\D", "", kind) or 8) / 8) * prod(_sides(sides))
        for kind, sides in _SHAPE.findall(shape)
    )


def _sides(text: str) -> list[int]:
    return [int(n) for n in text.split(",") if n]


def _source(rest: str) -> str:
    """The call that an operation comes from, without what every one is inside of."""
    name = re.search(r'op_name="([^"]*)"', rest)
    wrappers = ("jit(", "while", "body", "cond", "closed_call", "branch_", "checkpoint")
    parts = [p for p in (name[1].split("/") if name else []) if not p.startswith(wrappers)]
    return "/".join(parts[-4:])
