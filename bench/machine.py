"""Where and with what a figure was measured."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("ray", "torch", "transformers", "kafka-python", "pyarrow", "crc32c", "orjson")


def described() -> dict[str, Any]:
    """Commit, machine, versions and command of this run; JSON-able."""
    return {
        "commit": _git("describe", "--always", "--dirty"),
        "command": " ".join(["python", "-m", "bench." + Path(sys.argv[0]).stem, *sys.argv[1:]]),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def _cpu() -> str:
    """The processor's name, and what of it matters for inference."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in lines.items()}
    wanted = {"avx2", "avx512_vnni", "avx512_bf16", "amx_bf16"} & set(facts.get("flags", "").split())
    return f"{facts.get('model name', 'unknown')} ({', '.join(sorted(wanted)) or 'no AVX2'})"
