"""Where and with what a figure was measured."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "ray",
    "torch",
    "transformers",
    "sentence-transformers",
    "openvino",
    "nncf",
    "kafka-python",
    "pyarrow",
    "crc32c",
    "orjson",
)


def described() -> dict[str, Any]:
    """Commit, machine, versions and command of this run; JSON-able."""
    return {
        "commit": _commit(),
        "command": " ".join(["python", "-m", _module(), *map(_without_folders, sys.argv[1:])]),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def record(result: Path, figures: Mapping[str, float]) -> None:
    """Write what was measured; figures of scenarios that did not run stay, under their own commits."""
    known = json.loads(result.read_text()) if result.exists() else {"commits": {}}
    conditions = described()
    for name, value in figures.items():
        known[name] = round(value, 3)
        known["commits"][name] = conditions["commit"]
    known["machine"] = conditions
    result.parent.mkdir(exist_ok=True)
    result.write_text(json.dumps(known, indent=2) + "\n")


def _module() -> str:
    """What `python -m` was given; of a script, its name."""
    spec = sys.modules["__main__"].__spec__
    return spec.name if spec else Path(sys.argv[0]).stem


def _without_folders(argument: str) -> str:
    """An argument, and of a path in it the last part: the rest is about somebody's machine."""
    return "=".join(Path(one).name if os.sep in one else one for one in argument.split("="))


def _version(package: str) -> str | None:
    """None where it is not installed: a benchmark of the scorer needs no Ray."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """With `-dirty` where code was changed since; results that were written since are not code."""
    revision = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)bench/results")
    return f"{revision}-dirty" if changed else revision


def _git(*arguments: str) -> str | None:
    """None where the code is not in a repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu() -> str:
    """The processor's name, and what of it matters for inference."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in lines.items()}
    wanted = {"avx2", "avx512_vnni", "avx512_bf16", "amx_bf16"} & set(facts.get("flags", "").split())
    return f"{facts.get('model name', 'unknown')} ({', '.join(sorted(wanted)) or 'no AVX2'})"
