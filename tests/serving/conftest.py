"""A bundle for the arithmetic scorer: it prunes from 2 and reviews from 1."""

from __future__ import annotations

import pytest

from actors.bundle import Bundle
from tests.fakes import stand_in_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return stand_in_bundle(tmp_path_factory.mktemp("stand-in"))
