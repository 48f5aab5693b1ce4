"""The page about the bundle's format says what the code does: its tables are compared, its program is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from actors.bundle import FILES, MANIFEST_FILE, REQUIRED_FILES
from actors.learn.roles import Role
from actors.manifest import SCHEMA_VERSION
from tests.fakes import stand_in_bundle

PAGE = (Path(__file__).parents[2] / "docs" / "bundle-format.md").read_text()
(PROGRAM,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def rows(title):
    """Cells of the table under this head."""
    lines = PAGE.split(f"| {title} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture
def bundle(tmp_path):
    return stand_in_bundle(tmp_path)


def test_every_key_of_a_manifest_is_on_the_page_and_no_other(bundle):
    assert [name for row in rows("key") for name in names(row[0])] == [*bundle.manifest.to_json(), "digest"]


def test_every_key_within_policy_template_reference_and_rubric_is_on_the_page(bundle):
    said, about = bundle.manifest.to_json(), {names(row[0])[0]: row[1] for row in rows("key")}
    for key in ("template", "policy", "reference", "rubric"):
        assert set(said[key]) <= set(names(about[key])), key
    assert names(about["roles"])[: len(Role)] == [role.value for role in Role]
    assert about["schema"] == str(SCHEMA_VERSION)


def test_every_file_of_a_bundle_is_on_the_page_and_no_other():
    table = [(name, row[1]) for row in rows("file | needed") for name in names(row[0])]
    assert {name for name, _ in table} == {MANIFEST_FILE, *FILES}
    assert {name for name, needed in table if needed == "yes"} == {MANIFEST_FILE, *REQUIRED_FILES}


def test_the_schema_that_this_release_reads_is_the_last_on_the_page():
    assert rows("schema | file")[-1][:2] == [str(SCHEMA_VERSION), f"`{MANIFEST_FILE}`"]


def test_the_program_of_the_page_finds_the_digest_and_what_was_altered(bundle):
    namespace = {}
    exec(PROGRAM, namespace)
    assert namespace["verified"](bundle.path) == bundle.digest
    (bundle.path / "config.json").write_text("other")
    with pytest.raises(ValueError, match="was altered"):
        namespace["verified"](bundle.path)
