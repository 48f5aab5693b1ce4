"""The three places that settings come from, and which of them a setting came from. The later wins.

Reads a YAML file, takes the environment's values, and takes `--set` apart; knows no setting by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from pipeline.errors import SettingsError

ENV_PREFIX = "SLUICE_"

_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'" r'|"(?:\\.|[^"\\])*"')
_OF_YAML = re.compile(r"""['"](?:.|<[a-z ]+>)['"]""")
"""What YAML's errors quote of the language itself: one character, or the name of a token."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What each place said, the weakest first."""

    path: Path | None = None
    file: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None, environment: Mapping[str, Any], overrides: Sequence[str]) -> Self:
        """Read the file, and take the overrides apart.

        Args:
            path: YAML file, if there is one.
            environment: The environment's values, as a tree.
            overrides: Each `dotted.name=value`; the value is read as YAML.

        Returns:
            What each place said.

        Raises:
            SettingsError: The file holds no mapping, or an override no name.
        """
        return cls(path, _read(path) if path else {}, environment, _taken_apart(overrides))

    @property
    def merged(self) -> dict[str, Any]:
        """The settings, leaf by leaf from the strongest place that has it."""
        return _overlaid(_overlaid(self.file, self.environment), self.given)

    def of(self, setting: str) -> str:
        """Where a setting came from, for a person; for a default, where it could have been set."""
        if _holds(self.given, setting):
            return "--set"
        if _holds(self.environment, setting):
            return _variable(setting)
        return str(self.path) if self.path else "the default: no file was given"


class _Loader(yaml.SafeLoader):
    """YAML's, which lets a name pass that is there twice: all that the first one held was lost, without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401 - the library's own
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        names = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode):
                if name.value in names:
                    raise yaml.MarkedYAMLError(
                        problem=f"{name.value} is there twice", problem_mark=name.start_mark
                    )
                names.add(name.value)
        return node


def read_yaml(text: str) -> Any:  # noqa: ANN401 - whatever it holds
    """Read plain data.

    Args:
        text: YAML.

    Returns:
        What it says.

    Raises:
        ValueError: It is not YAML. It tells what is wrong, and where, and quotes nothing: it may be a password.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise ValueError(_QUOTED.sub(_shown, error.problem or "cannot be read") + where) from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except (ValueError, AttributeError) as error:  # the library's own, of 2026-13-45 and of !!int x
        raise ValueError(
            "a date or a number in it is none; put a text that looks like one into quotes"
        ) from error


def _shown(quoted: re.Match[str]) -> str:
    return quoted[0] if _OF_YAML.fullmatch(quoted[0]) else "…"


def _overlaid(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`under` with the leaves of `over` laid on it."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = _overlaid(below, value)
        else:
            merged[name] = value
    return merged


def _holds(tree: object, name: str) -> bool:
    for part in name.split("."):
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return True


def _variable(setting: str) -> str:
    """The variable that gave a setting: its own, that of its section, or, of a section, one of those within it."""
    own = ENV_PREFIX + setting.replace(".", "__").upper()
    given = sorted({name.upper() for name in os.environ})
    near = (one for one in given if f"{own}__".startswith(f"{one}__") or one.startswith(f"{own}__"))
    return own if own in given else next(near, own)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError("settings", f"cannot read the file: {error.strerror}", str(path)) from error
    except ValueError as error:
        raise SettingsError("settings", f"not a YAML file: {error}", str(path)) from error
    if not isinstance(content, dict):
        raise SettingsError("settings", "the file must hold a mapping of settings", str(path))
    return content


def _taken_apart(overrides: Sequence[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for override in overrides:
        name, separator, text = override.partition("=")
        if not separator or not all(name.split(".")):
            raise SettingsError(override, "write it as dotted.name=value", "--set")
        try:
            value = read_yaml(text)
        except ValueError as error:
            raise SettingsError(name, f"the value is not YAML: {error}", "--set") from error
        *parents, leaf = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
            if not isinstance(branch, dict):
                raise SettingsError(name, f"{parent} was given a plain value before", "--set")
        branch[leaf] = value
    return tree
