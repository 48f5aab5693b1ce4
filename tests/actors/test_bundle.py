import json
import shutil
from dataclasses import replace

import pytest

from actors.bundle import Bundle, write_bundle
from actors.calibration import PlattMap
from actors.errors import BundleProblem, DigestMismatch
from actors.manifest import SCHEMA_VERSION, Manifest, ReferenceScores, canonical_json, sha256
from actors.pairs import PairTemplate
from actors.policy import Policy
from actors.rubric import SEVERE_OR_NOT
from tests.model_folders import model_stand_in

MANIFEST = Manifest(
    name="stand-in",
    template=PairTemplate(),
    max_tokens=32,
    calibration=PlattMap(),
    policy=Policy(prune=2.0, review=1.0, rests_on="set by hand"),
    reference=ReferenceScores.of([0.0]),
    rubric=SEVERE_OR_NOT,
    roles={},
    origin="none",
)


@pytest.fixture
def model_folder(tmp_path):
    (tmp_path / "model").mkdir()
    return model_stand_in(tmp_path / "model")


@pytest.fixture
def bundle(tmp_path, model_folder):
    return write_bundle(tmp_path / "bundles" / "one", model_folder=model_folder, manifest=MANIFEST)


def edit_manifest(bundle, **changes):
    file = bundle.path / "sluice.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def forge_manifest(bundle, **changes):
    """As `edit_manifest`, with the digest that fits: by somebody who knows how."""
    data = json.loads((bundle.path / "sluice.json").read_text()) | changes
    del data["digest"]
    edit_manifest(bundle, **changes, digest=sha256(canonical_json(data)))


def test_what_was_written_can_be_opened_and_is_the_same(bundle):
    assert Bundle.open(bundle.path) == bundle
    assert replace(bundle.manifest, files={}) == MANIFEST


def test_a_bundle_holds_the_model_and_the_tokenizer_and_nothing_else(bundle):
    assert {file.name for file in bundle.path.iterdir()} == {
        "sluice.json",
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert [folder.name for folder in bundle.path.parent.iterdir()] == ["one"]


def test_the_same_parts_make_the_same_digest_wherever_they_lie(bundle, model_folder, tmp_path):
    again = write_bundle(tmp_path / "elsewhere", model_folder=model_folder, manifest=MANIFEST)
    moved = shutil.move(bundle.path, tmp_path / "moved")
    assert bundle.digest == again.digest == Bundle.open(moved).digest
    assert bundle.digest.startswith("sha256:")


@pytest.mark.parametrize(
    "file", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_one_altered_byte_is_found_and_named(bundle, file):
    content = bytearray((bundle.path / file).read_bytes())
    content[-1] ^= 1
    (bundle.path / file).write_bytes(content)
    with pytest.raises(DigestMismatch) as caught:
        Bundle.open(bundle.path)
    assert caught.value.file == file
    assert caught.value.expected == bundle.manifest.files[file]


def test_a_threshold_edited_by_hand_is_found(bundle):
    edit_manifest(bundle, policy=replace(MANIFEST.policy, prune=1.0).to_json())
    with pytest.raises(DigestMismatch) as caught:
        Bundle.open(bundle.path)
    assert caught.value.file == "sluice.json"


def test_a_missing_and_a_surplus_file_are_named(bundle):
    (bundle.path / "vocab.txt").write_text("surplus")
    with pytest.raises(BundleProblem, match=r"vocab\.txt not in the manifest"):
        Bundle.open(bundle.path)
    (bundle.path / "vocab.txt").unlink()
    (bundle.path / "config.json").unlink()
    with pytest.raises(BundleProblem, match=r"config\.json missing"):
        Bundle.open(bundle.path)


def test_a_newer_schema_is_refused_before_anything_else_is_believed(bundle):
    edit_manifest(bundle, schema=SCHEMA_VERSION + 1, policy="from the future")
    with pytest.raises(BundleProblem, match=f"newer than this release, which reads schema {SCHEMA_VERSION}"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "\xff", '{"schema": 2, "digest": "sha256:00"}'])
def test_a_manifest_that_is_none_is_refused(bundle, text):
    (bundle.path / "sluice.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleProblem, match=r"sluice\.json is"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": {"prune": 1}},
        {"roles": {"train": {"n": 1}}},
        {"template": None},
        {"files": {}},
        {"calibration": []},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_manifest_with_a_malformed_part_is_refused(bundle, changes):
    forge_manifest(bundle, **changes)
    with pytest.raises(BundleProblem):
        Bundle.open(bundle.path)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleProblem, match=r"no sluice\.json there"):
        Bundle.open(tmp_path / "nowhere")


def test_a_bundle_is_never_overwritten(bundle, model_folder):
    with pytest.raises(BundleProblem, match="never overwritten"):
        write_bundle(bundle.path, model_folder=model_folder, manifest=replace(MANIFEST, name="other"))
    assert Bundle.open(bundle.path).manifest.name == "stand-in"


def test_a_failed_write_leaves_nothing_behind(model_folder, tmp_path):
    (model_folder / "config.json").unlink()
    with pytest.raises(BundleProblem, match=r"config\.json missing"):
        write_bundle(tmp_path / "bundles" / "one", model_folder=model_folder, manifest=MANIFEST)
    assert not (tmp_path / "bundles").exists()


def test_a_write_that_breaks_midway_leaves_no_half_bundle(model_folder, tmp_path):
    unsayable = replace(MANIFEST, name="\ud800")  # fails when the manifest is digested, after the copies
    with pytest.raises(UnicodeEncodeError):
        write_bundle(tmp_path / "bundles" / "one", model_folder=model_folder, manifest=unsayable)
    assert list((tmp_path / "bundles").iterdir()) == []
