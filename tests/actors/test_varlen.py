import subprocess
import sys

import pytest
import torch

from actors import varlen

CONFIG = {"hidden_size": 384, "num_attention_heads": 12}


def test_a_processor_has_no_attention_of_variable_length():
    assert not varlen.fits(CONFIG, device=torch.device("cpu"), products=torch.bfloat16)


def test_asking_costs_a_processor_no_seconds_of_import():
    code = (
        "import sys, torch; from actors import varlen; "
        f"varlen.fits({CONFIG}, device=torch.device('cpu'), products=torch.bfloat16); "
        "sys.exit('torch.nn.attention.varlen' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("change", "products"),
    [
        ({"hidden_size": 390}, torch.bfloat16),  # 12 heads of 32.5
        ({"hidden_size": 144}, torch.bfloat16),  # of 12, no multiple of 8
        ({"hidden_size": 12 * 264}, torch.bfloat16),
        ({}, torch.float32),
    ],
    ids=str,
)
def test_what_the_kernels_do_not_take_is_padded(change, products):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    device = torch.device("cuda")
    assert varlen.fits(CONFIG, device=device, products=torch.bfloat16)
    assert not varlen.fits(CONFIG | change, device=device, products=products)
