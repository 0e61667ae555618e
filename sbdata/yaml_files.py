"""Untrusted YAML: plain values, within limits on size and depth, without duplicate keys.

PyYAML's safe loader builds only plain values, but it accepts any depth, lets a few hundred bytes of
aliases stand for millions of values, silently keeps the last of two equal keys, and reads 010 as 8
and 1:30 as 90.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from sbdata.errors import InputError
from sbdata.limits import MAX_YAML_DEPTH, MAX_YAML_VALUES
from sbdata.printable import printable
from sbdata.quoting import quoted


class _TooMuchError(yaml.MarkedYAMLError):
    """Document that is nested too deeply, or stands for too many values."""


class _StrictLoader(yaml.SafeLoader):
    """Safe loader with limits that refuses duplicate keys."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._values = 0
        self._of_node: dict[int, int] = {}  # values of a finished node, by its id
        self._key = ""  # the last key of the outermost mapping

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node; an alias counts as all the values that it stands for."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._of_node:
                raise _TooMuchError(None, None, "an alias within its own value", mark)
            self._count(self._of_node[id(node)], mark)
            return node
        if self._depth == MAX_YAML_DEPTH:
            raise _TooMuchError(None, None, f"nested deeper than {MAX_YAML_DEPTH} levels", mark)
        before = self._values
        self._depth += 1
        self._count(1, mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if self._depth == 1 and index is None and isinstance(parent, yaml.MappingNode):
            self._key = str(getattr(node, "value", ""))
        self._of_node[id(node)] = self._values - before
        return node

    def _count(self, values: int, mark: yaml.Mark) -> None:
        self._values += values
        if self._values > MAX_YAML_VALUES:
            under = f" under the key {quoted(self._key)}" if self._key else ""
            msg = f"more than {MAX_YAML_VALUES:,} values{under}, with aliases expanded"
            raise _TooMuchError(None, None, msg, mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Construct a mapping after checking that no key is repeated."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                said = f"the key {quoted(key)} is given twice; keep one"
                raise yaml.constructor.ConstructorError(None, None, said, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """Construct a number, unless YAML 1.1 reads it to a base that nobody has in mind."""
        float_ = node.tag == "tag:yaml.org,2002:float"
        number = (super().construct_yaml_float if float_ else super().construct_yaml_int)(node)
        if ":" in node.value or (re.match(r"[-+]?0[0-9_]", node.value) and not float_):
            said = f"YAML reads {node.value} as {number}; write {number}, or a text in quotes"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        return number

    def construct_yaml_timestamp(self, node: yaml.ScalarNode) -> Any:
        """Construct a date, if it is in the calendar."""
        try:
            return super().construct_yaml_timestamp(node)
        except (ValueError, OverflowError) as error:
            said = f"{quoted(node.value)} is not a valid date; write a text in quotes"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark) from error


# Exceptions that PyYAML's constructors raise for a scalar that its tag does not fit, such as
# ``!!bool x``.
_SLIPS = (ValueError, TypeError, OverflowError, KeyError, AttributeError, RecursionError)
_MERGE = "tag:yaml.org,2002:merge"
_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _StrictLoader.construct_yaml_timestamp)
for _tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
    _StrictLoader.add_constructor(_tag, _StrictLoader.construct_number)


def parse_yaml(text: str, where: str) -> Any:
    """Return the plain values of a YAML text.

    Args:
        text: Text of one document.
        where: Name of the place in messages.

    Raises:
        InputError: If it is not YAML, exceeds the limits, or repeats a key.
    """
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, *_SLIPS) as error:
        msg = f"{where}: not valid YAML ({yaml_reason(error)})"
        raise InputError(msg) from error


def yaml_reason(error: Exception) -> str:
    """Return why a text is not YAML, in one short line, with the line number of the error."""
    told = str(error) if isinstance(error, yaml.YAMLError | ValueError) else "a value without sense"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        snippet = (mark.get_snippet(indent=0) or "").partition("\n")[0]
        told = f"line {mark.line + 1}, {quoted(snippet, 70)}: {error.problem}"
    line = printable(" ".join(told.split()))
    return line if len(line) <= 300 else f"{line[:297]}..."
