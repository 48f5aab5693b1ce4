import pytest

from actors.serving import Engine, InstructionSet, Precision, Serving, instructions_here

AVX512 = "avx avx2 avx512f avx512bw avx512vl avx512dq"


def cpuinfo(folder, flags):
    path = folder / "cpuinfo"
    path.write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\nflags\t\t: fpu {flags}\n")
    return path


@pytest.mark.parametrize(
    ("flags", "widest"),
    [
        ("avx avx2", InstructionSet.AVX2),
        ("avx avx2 avx_vnni", InstructionSet.AVX2_VNNI),
        (AVX512, InstructionSet.AVX512),
        (f"{AVX512} avx512_vnni", InstructionSet.AVX512_VNNI),
        (f"{AVX512} avx512_vnni avx512_bf16", InstructionSet.AVX512_BF16),
        (f"{AVX512} avx512_vnni avx512_bf16 amx_int8 amx_bf16", InstructionSet.AMX),
    ],
)
def test_the_widest_set_follows_from_the_processors_flags(tmp_path, flags, widest):
    here = instructions_here(cpuinfo(tmp_path, flags))
    assert [one for one in InstructionSet if one in here][-1] is widest


def test_a_processor_that_nobody_describes_has_no_set(tmp_path):
    assert not instructions_here(tmp_path / "none")
    assert not instructions_here(cpuinfo(tmp_path, "neon"))


def test_int8_does_not_saturate_with_vnni_alone():
    exact = {one for one in InstructionSet if one.multiplies_int8}
    assert exact == {*InstructionSet} - {InstructionSet.AVX2, InstructionSet.AVX512}


@pytest.mark.parametrize(
    "serving",
    [
        Serving(),
        Serving(precision=Precision.BF16),
        Serving(Engine.OPENVINO, Precision.INT8, InstructionSet.AVX512_VNNI),
    ],
)
def test_a_way_is_read_back_as_it_was_written(serving):
    assert Serving.from_json(serving.to_json()) == serving
    assert str(serving.precision) in str(serving)


@pytest.mark.parametrize(
    "wrong",
    [
        (Engine.TORCH, Precision.INT8, None),
        (Engine.OPENVINO, Precision.INT8, None),
        (Engine.TORCH, Precision.FP32, InstructionSet.AVX2),
    ],
)
def test_a_way_that_no_engine_goes_is_refused(wrong):
    with pytest.raises(ValueError, match=r"openvino"):
        Serving(*wrong)


def test_an_unknown_engine_is_refused():
    with pytest.raises(ValueError, match="abacus"):
        Serving.from_json(Serving().to_json() | {"engine": "abacus"})
