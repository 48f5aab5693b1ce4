import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.recent import Recent, key

SIZE = 4
names = st.integers(0, 20).map(lambda n: key(str(n).encode()))


def logit_of(name):
    return np.float32(int.from_bytes(name[:2], "big") / 7)


@given(st.lists(st.lists(names, unique=True, max_size=6), max_size=12))
def test_it_tells_what_was_put_in_or_nothing_and_keeps_its_bound(batches):
    recent = Recent(SIZE)
    for batch in batches:
        found = recent.recall(batch)
        for name, logit in zip(batch, found, strict=True):
            assert np.isnan(logit) or logit == logit_of(name)
        recent.remember(batch, np.array([logit_of(name) for name in batch], np.float32))
        assert len(recent) <= 2 * SIZE
        if len(batch) <= SIZE:
            assert not np.isnan(recent.recall(batch)).any()


def test_what_is_asked_for_again_and_again_stays():
    recent, often = Recent(SIZE), key(b"often")
    recent.remember([often], np.array([3.5], np.float32))
    for n in range(50):
        recent.remember([key(str(n).encode())], np.array([n], np.float32))
        assert recent.recall([often]).tolist() == [3.5]
    assert np.isnan(recent.recall([key(b"0")])).all()


def test_what_is_not_finite_is_forgotten():
    recent = Recent(SIZE)
    recent.remember([b"a", b"b"], np.array([np.nan, np.inf], np.float32))
    assert len(recent) == 0
