"""How a bundle's encoder is computed: by which engine, in which precision, with which instructions.

A bundle has one way. Its map and its thresholds were fitted to the logits of that way, and another precision
shifts them by more than a threshold bears: so the way is part of the bundle, and another way is another
bundle. Plain values; which engine does what is `encoder`'s business.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.kinds import of_kind


class Engine(enum.StrEnum):
    """What computes the encoder."""

    TORCH = "torch"
    """From the weights themselves, on a CPU or a GPU."""
    OPENVINO = "openvino"
    """From an export of them, on a CPU."""


class Precision(enum.StrEnum):
    """Of the matrix products; sums and norms stay float32 where an engine leaves the choice."""

    FP32 = "fp32"
    """The reference."""
    BF16 = "bf16"
    INT8 = "int8"
    """Weights and activations, with scales that were settled beforehand: a pair's score must not depend on its
    company. What an activation function gives is multiplied in bf16 where there are such products, else in
    fp32. Of OpenVINO only."""


class InstructionSet(enum.StrEnum):
    """The widest instructions that an engine may use, by oneDNN's names; each holds those before it."""

    AVX2 = "AVX2"
    AVX2_VNNI = "AVX2_VNNI"
    AVX512 = "AVX512_CORE"
    AVX512_VNNI = "AVX512_CORE_VNNI"
    AVX512_BF16 = "AVX512_CORE_BF16"
    AMX = "AVX512_CORE_AMX"

    @property
    def multiplies_int8(self) -> bool:
        """Whether products of int8 are summed in 32 bits; without VNNI they saturate at 16."""
        return self not in {InstructionSet.AVX2, InstructionSet.AVX512}

    @property
    def multiplies_bf16(self) -> bool:
        """Whether there are products of bf16; elsewhere they are emulated."""
        return self in {InstructionSet.AVX512_BF16, InstructionSet.AMX}


_FLAGS = {
    InstructionSet.AVX2: {"avx2"},
    InstructionSet.AVX2_VNNI: {"avx2", "avx_vnni"},
    InstructionSet.AVX512: {"avx512f", "avx512bw", "avx512vl", "avx512dq"},
    InstructionSet.AVX512_VNNI: {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"},
    InstructionSet.AVX512_BF16: {"avx512_vnni", "avx512_bf16"},
    InstructionSet.AMX: {"avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"},
}


@dataclass(frozen=True, slots=True)
class Serving:
    """One way to compute an encoder."""

    engine: Engine = Engine.TORCH
    precision: Precision = Precision.FP32
    instructions: InstructionSet | None = None
    """What the engine is held to, so that a newer processor computes the same; None for torch, which cannot be
    held."""

    def __post_init__(self) -> None:
        if self.precision is Precision.INT8 and self.engine is not Engine.OPENVINO:
            raise ValueError("only openvino computes in int8")
        if (self.instructions is None) is (self.engine is Engine.OPENVINO):
            raise ValueError("openvino is held to an instruction set, and torch to none")

    def __str__(self) -> str:
        held = "" if self.instructions is None else f" ({self.instructions})"
        return f"{self.engine} {self.precision}{held}"

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives back an equal value."""
        held = None if self.instructions is None else self.instructions.value
        return {"engine": self.engine.value, "precision": self.precision.value, "instructions": held}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Serving:
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        held = data["instructions"]
        return cls(
            Engine(of_kind(str, data["engine"])),
            Precision(of_kind(str, data["precision"])),
            None if held is None else InstructionSet(of_kind(str, held)),
        )


def instructions_here(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[InstructionSet]:
    """What this machine's processor has.

    Args:
        cpuinfo: Where Linux says it.

    Returns:
        The sets that it has; none where nobody says.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    return frozenset(one for one, needed in _FLAGS.items() if needed <= flags)


def widest_here() -> InstructionSet | None:
    """The widest set that this machine's processor has; None where it has none that is known."""
    here = instructions_here()
    return next((one for one in reversed(InstructionSet) if one in here), None)
