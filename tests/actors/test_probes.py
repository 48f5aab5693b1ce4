import math

import numpy as np
import pyarrow as pa
import pytest

from actors.bundle import PROBES_FILE
from actors.errors import BundleProblem
from actors.probes import Probes, chosen, read_probes
from actors.tokens import Tokens

TOKENS = Tokens.from_rows([[1, 2], [3], [4, 5, 6]], [[0, 1], [0], [0, 0, 1]])
LOGIT = np.array([-2, 0, 2], np.float32)


def test_probes_are_read_back_as_they_were_written(tmp_path):
    (tmp_path / PROBES_FILE).write_bytes(Probes(TOKENS, LOGIT).to_bytes())
    found = read_probes(tmp_path)
    assert found.tokens.ids.tolist() == TOKENS.ids.tolist()
    assert found.tokens.type_ids.tolist() == TOKENS.type_ids.tolist()
    assert found.logit.tolist() == LOGIT.tolist()


def test_a_bundle_may_have_none(tmp_path):
    assert read_probes(tmp_path) is None


def stream(**columns):
    batch = pa.RecordBatch.from_pydict(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no arrow",
        Probes(TOKENS, LOGIT).to_bytes()[:-400],
        stream(token_ids=[1, 2], encoder_logit=[0.5, 1.5]),
        stream(token_ids=[[1]], encoder_logit=["high"]),
        Probes(TOKENS, LOGIT * np.float32(np.nan)).to_bytes(),
        Probes(TOKENS.slice(0, 0), LOGIT[:0]).to_bytes(),
    ],
)
def test_probes_that_are_malformed_are_refused(tmp_path, content):
    """Ids that are no lists ended a replica with an AttributeError, and no pairs at all let every replica pass."""
    (tmp_path / PROBES_FILE).write_bytes(content)
    with pytest.raises(BundleProblem, match=r"probes\.arrow is malformed"):
        read_probes(tmp_path)


def test_drift_is_told_in_standard_deviations():
    probes = Probes(TOKENS, LOGIT)
    assert probes.drift(LOGIT) == 0
    assert probes.drift(LOGIT + 0.1) == pytest.approx(0.1 / LOGIT.std(), rel=1e-5)
    assert probes.drift([-2, math.nan, 2]) == math.inf


def test_probes_that_are_all_alike_allow_no_difference():
    alike = Probes(TOKENS, np.zeros(3, np.float32))
    assert alike.drift(np.zeros(3)) == 0
    assert alike.drift(np.full(3, 1e-3)) > 1


def test_what_is_chosen_spans_from_the_least_to_the_most_severe():
    logit = np.random.default_rng(4).normal(size=1_000)
    rows = chosen(logit, n=50)
    assert len(rows) == len(set(rows.tolist())) == 50
    assert {logit.argmin(), logit.argmax()} <= set(rows.tolist())
    assert np.diff(np.sort(logit[rows])).max() < 1.5
    assert chosen(logit[:7], n=50).tolist() == list(range(7))
