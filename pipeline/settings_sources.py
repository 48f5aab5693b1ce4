"""The three places that settings come from, and which of them a setting came from. The later wins.

Reads a YAML file, takes the environment's values, and takes `--set` apart; knows no setting by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from pipeline.errors import SettingsError

ENV_PREFIX = "SLUICE_"


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
        variable = ENV_PREFIX + setting.replace(".", "__").upper()
        if variable in {name.upper() for name in os.environ}:
            return variable
        return str(self.path) if self.path else "the default: no file was given"


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


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError("settings", f"cannot read the file: {error.strerror}", str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(
            "settings", f"not a YAML file: {' '.join(str(error).split())}", str(path)
        ) from error
    if not isinstance(content, dict):
        raise SettingsError("settings", "the file must hold a mapping of settings", str(path))
    return content


def _taken_apart(overrides: Sequence[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for override in overrides:
        name, separator, text = override.partition("=")
        if not separator or not name:
            raise SettingsError(override, "write it as dotted.name=value", "--set")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SettingsError(name, f"the value is not YAML: {text!r}", "--set") from error
        *parents, leaf = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
            if not isinstance(branch, dict):
                raise SettingsError(name, f"{parent} was given a plain value before", "--set")
        branch[leaf] = value
    return tree
