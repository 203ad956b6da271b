"""The templates of every line that sdbatch can print as an error, read off its sources by `ast`.

An f-string is a template with `{}` where a value stands. What chooses between texts gives one for
each of them: conditional expressions, `or`, local names, constants, and functions of the module
that return text. A parameter stays `{}`; the texts it is given are phrases of their own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from tests.conftest import ROOT

ERRORS = {
    "UserError", "Interruption", "UnsupportedConfig", "UnsupportedSchedule", "TextOptionsError",
    "Malformed", "TooMuch", "Refused", "ShardsMissing", "ShardCorrupt", "DamagedShard", "BadImage",
    "BadDictionary", "MissingGlyph",
}  # fmt: skip
"""Errors whose text, the first argument, reaches the user's line."""
ARGUMENTS = {"complain": 0, "_fail": 0, "DamagedShard": 3, "FileNotFoundError": 1, "kill": 0,
             "UnitFailed": 2, "ChineseRows": 0}  # fmt: skip
"""Other calls that put a text into such a line, and which of their arguments it is."""
PHRASES = {
    "config/validation.py": {"_RANGES", "_NOT_NEGATIVE", "_SIDE", "_at_least", "unknown_key"},
    "dataset/merge.py": {"line"},
    "dataset/shard.py": {"column_difference", "_column"},
    "explain.py": {"explain", "_unreadable", "_unknown_choice"},
    "launch_record.py": {"ValueError"},
    "run_record.py": {"changed_settings"},
    "runner/pool.py": {"__str__", "_cause"},
    "runner/space.py": {"shortage"},
    "samplers/settings.py": {"_FITTING", "_check_ranges"},
    "sweep/jobs.py": {"lost"},
    "weights/family.py": {"_said"},
    "weights/files/formats.py": {"_OTHERS"},
    "weights/files/pickle_values.py": {"_kind"},
    "weights/lora_names.py": {"SUPPORTED", "_OTHER_METHODS"},
    "weights/original_keys.py": {"_OTHERS"},
}
"""Functions and constants, by file, whose texts are lines or parts of them: what is returned, what
is printed, the last of each tuple, the values of a dictionary."""
MANY = 24
"""Of more variants than these a value is taken to be any text."""

_VALUE = "\0"


def template(variant: str) -> str:
    """As the catalogue writes it: literal braces doubled, values that touch are one."""
    text = variant.replace("{", "{{").replace("}", "}}")
    return re.sub(f"{_VALUE}+", "{}", text)


class Module:
    """One source file, with what its names stand for."""

    def __init__(self, path: Path):
        self.path = path
        self.name = path.relative_to(ROOT / "sdbatch").as_posix()
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.parents = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }
        self._choices: list[tuple[str, int]] = []
        self.functions = {
            node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)
        }

    def texts(self) -> Iterator[tuple[str, int]]:
        """Each template of this file with its line."""
        for node in ast.walk(self.tree):
            for argument in self._lines(node):
                for variant in self.variants(argument, ()):
                    yield variant, argument.lineno
            for argument in self._parts(node):
                for variant in self.variants(argument, ()):
                    if re.search(r"[A-Za-z]\S* \S", variant):  # one word is a key or a value
                        yield variant, argument.lineno
        for variant, line in self._choices:
            yield variant, line

    def _lines(self, node: ast.AST) -> Iterator[ast.expr]:
        """What a call makes into an error."""
        if not isinstance(node, ast.Call):
            return
        name = _name(node.func)
        if name == "__init__" and any(self._class_of(node) == error for error in ERRORS):
            yield from node.args[:1]
        place = ARGUMENTS.get(name, 0 if name in ERRORS else None)
        if place is not None:
            yield from node.args[place : place + 1]

    def _parts(self, node: ast.AST) -> Iterator[ast.expr]:
        """What else `node` puts into somebody's line."""
        named = PHRASES.get(self.name, ())
        if isinstance(node, ast.Call):
            yield from self._given(node)
            if _name(node.func) in named:
                yield from node.args[:1]
        elif isinstance(node, ast.FunctionDef):
            used = self._used(node)
            defaults = node.args.defaults
            last = node.args.args[len(node.args.args) - len(defaults) :]
            yield from (text for one, text in zip(last, defaults, strict=True) if one.arg in used)
            if node.name in named:
                yield from _returned(node)
                yield from _last_ones(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(_name(target) in named for target in targets):
                yield from [node.value] if isinstance(node.value, ast.Constant) else []
                yield from _last_ones(node.value)

    def _given(self, call: ast.Call) -> Iterator[ast.expr]:
        """Arguments for parameters that the called function of this module puts into a line."""
        function = self.functions.get(_name(call.func))
        if function is None:
            return
        names = [item.arg for item in function.args.args if item.arg not in ("self", "cls")]
        used = self._used(function)
        given = dict(zip(names, call.args, strict=False))
        given |= {word.arg: word.value for word in call.keywords}
        yield from (value for name, value in given.items() if name in used)

    def _used(self, function: ast.FunctionDef) -> set[str]:
        """Parameters that stand in texts of a function's errors."""
        inside = (node for node in ast.walk(function) if isinstance(node, ast.Call))
        texts = (node.args[0] for node in inside if _name(node.func) in ERRORS and node.args)
        return {
            node.id
            for text in texts
            for node in ast.walk(text)
            if isinstance(node, ast.Name) and node.id in {a.arg for a in function.args.args}
        }

    def variants(self, node: ast.expr, seen: tuple[ast.AST, ...]) -> list[str]:
        """All texts that an expression can be, values as `_VALUE`."""
        if len(seen) > 12 or node in seen:
            return [_VALUE]
        seen = (*seen, node)
        found = sorted(self._variants(node, seen))
        return found if 0 < len(found) <= MANY else [_VALUE]

    def _variants(self, node: ast.expr, seen: tuple[ast.AST, ...]) -> set[str]:
        match node:
            case ast.Constant(value=str()):
                return {node.value}
            case ast.JoinedStr():
                return self._joined(node.values, seen)
            case ast.FormattedValue():
                if node.conversion != -1 or node.format_spec is not None:
                    return {_VALUE}
                return self._choice(node.value, seen)
            case ast.BinOp(op=ast.Add()):
                return self._joined([node.left, node.right], seen)
            case ast.IfExp():
                return {*self.variants(node.body, seen), *self.variants(node.orelse, seen)}
            case ast.BoolOp(op=ast.Or()):
                return set().union(*(self.variants(value, seen) for value in node.values))
            case ast.ListComp():
                return set(self.variants(node.elt, seen))
            case ast.Call():
                return self._called(node, seen)
            case ast.Name():
                return self._named(node, seen)
        return {_VALUE}

    def _joined(self, parts: list[ast.expr], seen: tuple[ast.AST, ...]) -> set[str]:
        choices = [self.variants(part, seen) for part in parts]
        return {"".join(one) for one in product(*choices)}

    def _choice(self, node: ast.expr, seen: tuple[ast.AST, ...]) -> set[str]:
        """Variants of a value within a text; of many, none of them empty, each is a phrase."""
        found = {
            _VALUE if re.fullmatch(r"\w*\d", text) else text for text in self.variants(node, seen)
        }
        if len(found) > 2 and "" not in found:
            self._choices += [(text, node.lineno) for text in found]
            return {_VALUE}
        return found

    def _called(self, node: ast.Call, seen: tuple[ast.AST, ...]) -> set[str]:
        name = _name(node.func)
        if name in ("one_line", *ERRORS) and len(node.args) == 1:
            return set(self.variants(node.args[0], seen))
        if isinstance(node.func, ast.Attribute) and name == "rstrip" and node.args:
            ends = node.args[0].value
            return {text.rstrip(ends) for text in self.variants(node.func.value, seen)}
        if name == "get" and len(node.args) == 2 and isinstance(node.func.value, ast.Name):
            texts = self._values(node.func.value.id)
            return {*texts, *self.variants(node.args[1], seen)} if texts else {_VALUE}
        if isinstance(node.func, ast.Name) and name in self.functions:
            returned = list(_returned(self.functions[name]))
            return {text for one in returned for text in self.variants(one, seen)} or {_VALUE}
        return {_VALUE}

    def _named(self, node: ast.Name, seen: tuple[ast.AST, ...]) -> set[str]:
        scope = self._scope(node)
        found = self._assigned(node.id, scope, seen)
        if not found and isinstance(scope, ast.FunctionDef) and not _is_parameter(node.id, scope):
            found = self._assigned(node.id, self.tree, seen)
        return found or {_VALUE}

    def _assigned(self, name: str, scope: ast.AST, seen: tuple[ast.AST, ...]) -> set[str]:
        found: set[str] = set()
        nodes = ast.walk(scope) if scope is not self.tree else iter(self.tree.body)
        for node in sorted(
            (n for n in nodes if isinstance(n, (ast.Assign, ast.AugAssign))), key=lambda n: n.lineno
        ):
            if isinstance(node, ast.AugAssign):
                if _name(node.target) == name:
                    more = self.variants(node.value, seen)
                    found |= {a + b for a in found for b in more}
            elif any(_name(target) == name for target in node.targets):
                found |= set(self.variants(node.value, seen))
            elif pair := _unpacked(node, name):
                found |= set(self.variants(pair, seen))
            elif any(_holds(target, name) for target in node.targets):
                found |= {_VALUE}
        return found

    def _values(self, name: str) -> set[str]:
        """Texts in a dictionary that is a constant of this module."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and _name(node.targets[0]) == name:
                return {one.value for one in _last_ones(node.value) if _is_text(one)}
        return set()

    def _class_of(self, node: ast.AST) -> str:
        while node in self.parents and not isinstance(node, ast.ClassDef):
            node = self.parents[node]
        return getattr(node, "name", "")

    def _scope(self, node: ast.AST) -> ast.AST:
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, ast.FunctionDef):
                return node
        return self.tree


def _name(node: ast.AST) -> str:
    """The last part of a dotted name."""
    return getattr(node, "id", None) or getattr(node, "attr", "")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _last_ones(node: ast.AST) -> Iterator[ast.expr]:
    """What may be text at the end of tuples, and in dictionaries."""
    for part in ast.walk(node):
        if isinstance(part, ast.Tuple) and isinstance(part.ctx, ast.Load):
            texts = [one for one in part.elts if _is_text(one) or isinstance(one, ast.JoinedStr)]
            yield from texts[-1:]
        elif isinstance(part, ast.Dict):
            yield from (value for value in part.values if _is_text(value))


def _unpacked(node: ast.Assign, name: str) -> ast.expr | None:
    """What `name` is given in `a, name = b, value`."""
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        pairs = zip(target.elts, value.elts, strict=True)
        return next((given for one, given in pairs if _name(one) == name), None)
    return None


def _holds(target: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(target))


def _is_parameter(name: str, function: ast.FunctionDef) -> bool:
    arguments = function.args
    return any(a.arg == name for a in (*arguments.args, *arguments.kwonlyargs))


def _returned(function: ast.FunctionDef) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            value = node.value
            yield value.elts[-1] if isinstance(value, ast.Tuple) else value


def derived() -> dict[str, list[str]]:
    """Each template, and where it stands as `file:line`; those without a word are left out."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "sdbatch").rglob("*.py")):
        if path.is_relative_to(ROOT / "sdbatch" / "lang"):
            continue
        module = Module(path)
        for variant, line in module.texts():
            if re.search(r"[A-Za-z]{2}", variant):
                found.setdefault(template(variant), []).append(f"sdbatch/{module.name}:{line}")
    return found


def room(place: str) -> str:
    """The file of the catalogue, without `.json`, where texts of a source file belong."""
    parts = Path(place.rpartition(":")[0]).parts[1:-1]
    return "_".join(parts) or "commands"
