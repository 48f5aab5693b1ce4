import errno
import json
import math
import os
import re
import resource
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from actors.bundle import Bundle, write_bundle, write_child
from actors.calibration import PlattMap
from actors.errors import BundleError, BundleProblem, DigestMismatch
from actors.files import file_digest
from actors.manifest import SCHEMA_VERSION, Manifest, ReferenceScores, RoleCount, canonical_json, sha256
from actors.pairs import PairTemplate
from actors.policy import Guarantee, Policy
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


@pytest.mark.parametrize("text", ["", "[]", "{}", "\xff", '{"schema": 3, "digest": "sha256:00"}'])
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


VALUES = (None, True, -1, 2.5, 1e308, 10**400, "", "x", [], [1], [["a", None]], {}, {"a": None})


def leaves(data, path=()):
    """The path to everything in it, but the quantiles, of which there are many."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield (*path, key)
        if isinstance(value, dict | list) and key != "quantiles":
            yield from leaves(value, (*path, key))


def test_a_manifest_with_anything_in_any_place_is_opened_or_refused_in_one_line(bundle):
    promised = Policy(2.0, 1.0, "a hand", guarantee=Guarantee(0.9, 0.9, 5), evidence={"a": [1]})
    full = replace(
        bundle.manifest, policy=promised, roles={"map": RoleCount(2, 1, 1)}, metrics={"a": {"b": 1}}
    )
    refused = []
    for path in leaves(full.to_json()):
        for value in VALUES:
            data = full.to_json()
            place = data
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            forge_manifest(bundle, **data)
            try:
                assert Bundle.open(bundle.path).manifest.to_json() == data
            except BundleError as error:
                refused.append(str(error))
    assert len(refused) > 300
    assert not [said for said in refused if "\n" in said]


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleProblem, match=r"no sluice\.json there"):
        Bundle.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema": 4}, "schema 4 is newer than this release, which reads schema 3: install the release"),
        ({"schema": 1}, "schema 1; this release reads schema 3"),
        ({"schema": "3"}, "schema '3'; this release reads schema 3"),
        ({"note": "x"}, "holds what schema 3 does not have"),
        ({"policy": MANIFEST.policy.to_json() | {"also": 1}}, "holds what schema 3 does not have"),
        ({"max_tokens": "32"}, "malformed"),
        ({"name": chr(0xD800)}, "malformed"),
        ({"files": {"config.json": "sha256:00"}}, r"lacks model\.safetensors, tokenizer\.json"),
    ],
    ids=str,
)
def test_what_a_manifest_cannot_say_is_refused_in_one_line(bundle, changes, problem):
    edit_manifest(bundle, **changes) if "name" in changes else forge_manifest(bundle, **changes)
    with pytest.raises(BundleProblem, match=problem) as refused:
        Bundle.open(bundle.path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ['{"schema": 3, "digest": "x", "max_tokens": NaN}', '{"a":' * 100_000])
def test_json_that_is_none_is_refused(bundle, text):
    (bundle.path / "sluice.json").write_text(text)
    with pytest.raises(BundleProblem, match=r"sluice\.json is"):
        Bundle.open(bundle.path)


def test_a_bundle_of_an_older_release_is_refused_by_its_name(tmp_path):
    (tmp_path / "bundle.json").write_text('{"format": 1}')
    with pytest.raises(BundleProblem, match="schema 1, which only older releases read"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pkl", "optimizer.PT", "weights.pth"])
def test_what_may_be_pickled_is_refused_whether_the_manifest_names_it_or_not(bundle, name):
    (bundle.path / name).write_bytes(b"\x80\x04N.")
    with pytest.raises(BundleProblem, match=f"{name} may be pickled"):
        Bundle.open(bundle.path)
    forge_manifest(bundle, files=bundle.manifest.files | {name: file_digest(bundle.path / name)})
    with pytest.raises(BundleProblem, match=f"{name} may be pickled"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize(
    "name", ["../config.json", "/etc/passwd", "a/b", "modeling.py", "adapter_config.json", ".."]
)
def test_a_file_that_no_bundle_holds_is_refused_though_the_manifest_names_it(bundle, name):
    forge_manifest(bundle, files=bundle.manifest.files | {name: "sha256:00"})
    with pytest.raises(BundleProblem, match=f"the manifest names {re.escape(name)}, which no bundle holds"):
        Bundle.open(bundle.path)


def test_many_surplus_files_make_one_line(bundle):
    for name in ("a\nb", "c", "d", "e", "f"):
        (bundle.path / name).write_text("surplus")
    with pytest.raises(BundleProblem, match=r"'a\\nb', c, d and 2 more not in the manifest"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("name", ["config.json", "sluice.json"])
def test_a_link_that_leads_out_of_the_folder_is_refused_though_its_content_is_right(bundle, tmp_path, name):
    (bundle.path / name).rename(tmp_path / "elsewhere")
    (bundle.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleProblem, match=f"{name} leads out of the folder"):
        Bundle.open(bundle.path)


def test_a_bundle_may_be_opened_through_a_link_to_it(bundle, tmp_path):
    (tmp_path / "current").symlink_to(bundle.path)
    assert Bundle.open(tmp_path / "current").digest == bundle.digest


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["config.json", "sluice.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_and_not_read(bundle, name, make):
    (bundle.path / name).unlink()
    make(bundle.path / name)
    with pytest.raises(BundleProblem, match=f"{name} is no plain file"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_with_code_of_its_own_is_neither_written_nor_opened(bundle, model_folder, tmp_path, name):
    asking = json.dumps({"auto_map": {"AutoModel": "evil/repo--modeling.Evil"}})
    (bundle.path / name).write_text(asking)
    forge_manifest(bundle, files=bundle.manifest.files | {name: file_digest(bundle.path / name)})
    with pytest.raises(BundleProblem, match=rf"{name} asks for code of its own \(auto_map\)"):
        Bundle.open(bundle.path)
    (model_folder / name).write_text(asking)
    with pytest.raises(BundleProblem, match="auto_map"):
        write_bundle(tmp_path / "new", model_folder=model_folder, manifest=MANIFEST)
    assert not (tmp_path / "new").exists()


def test_what_the_system_refuses_to_read_is_said_in_one_line(bundle, monkeypatch):
    with pytest.raises(BundleProblem, match="cannot be read: File name too long"):
        Bundle.open("x" * 300)

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("actors.bundle.file_digest", refuse)
    with pytest.raises(BundleProblem, match=r"cannot be read: Permission denied \(.*model\.safetensors\)$"):
        Bundle.open(bundle.path)


def test_a_bundle_is_never_overwritten(bundle, model_folder):
    with pytest.raises(BundleProblem, match="never overwritten"):
        write_bundle(bundle.path, model_folder=model_folder, manifest=replace(MANIFEST, name="other"))
    assert Bundle.open(bundle.path).manifest.name == "stand-in"


def test_a_failed_write_leaves_nothing_behind(model_folder, tmp_path):
    (model_folder / "config.json").unlink()
    with pytest.raises(BundleProblem, match=r"config\.json missing"):
        write_bundle(tmp_path / "bundles" / "one", model_folder=model_folder, manifest=MANIFEST)
    assert not (tmp_path / "bundles").exists()


@pytest.mark.parametrize(
    "change", [{"name": "\ud800"}, {"metrics": {"auc": math.nan}}, {"metrics": {"auc": set()}}]
)
def test_a_manifest_that_cannot_be_written_is_said_and_leaves_no_half_bundle(model_folder, tmp_path, change):
    """It fails when the manifest is digested, after the copies."""
    with pytest.raises(BundleProblem, match="its manifest cannot be said in JSON"):
        write_bundle(
            tmp_path / "bundles" / "one", model_folder=model_folder, manifest=replace(MANIFEST, **change)
        )
    assert list((tmp_path / "bundles").iterdir()) == []


@contextmanager
def files_of_at_most(n_bytes):
    """No process may write more into one file: as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("n_bytes", [10, 300], ids=["while the model is copied", "at the manifest"])
def test_a_disk_that_is_full_leaves_nothing_and_is_said_in_one_line(bundle, model_folder, tmp_path, n_bytes):
    for write in (
        lambda to: write_bundle(to, model_folder=model_folder, manifest=MANIFEST),
        lambda to: write_child(to, bundle, MANIFEST),
    ):
        with (
            files_of_at_most(n_bytes),
            pytest.raises(BundleProblem, match="cannot be written: File too large"),
        ):
            write(tmp_path / "full" / "one")
        assert list((tmp_path / "full").iterdir()) == []


def test_a_disk_without_space_is_said_in_its_words(model_folder, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(BundleProblem, match=r"^bundle .*: cannot be written: No space left on device$"):
        write_bundle(tmp_path / "full" / "one", model_folder=model_folder, manifest=MANIFEST)


def test_a_place_where_no_folder_can_be_is_said_in_one_line(model_folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleProblem, match="cannot be written: "):
        write_bundle(tmp_path / "file" / "one", model_folder=model_folder, manifest=MANIFEST)


def test_of_several_who_write_at_once_one_succeeds_and_the_others_are_told(model_folder, tmp_path):
    target = tmp_path / "bundles" / "one"
    together = threading.Barrier(8)

    def write(number):
        together.wait()
        try:
            return write_bundle(
                target, model_folder=model_folder, manifest=replace(MANIFEST, name=f"{number}")
            )
        except BundleProblem as problem:
            return str(problem)

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(write, range(8)))
    written = [one for one in said if isinstance(one, Bundle)]
    assert [Bundle.open(target)] == written
    assert sum("never overwritten" in one for one in said if isinstance(one, str)) == 7
    assert [folder.name for folder in target.parent.iterdir()] == ["one"]


# --- a child


@pytest.fixture
def full_bundle(tmp_path, model_folder):
    """With a prior, roles, a card and a plot."""
    for name in ("prior.json", "roles.json", "README.md", "scores.png"):
        (model_folder / name).write_text(f"the parent's {name}")
    return write_bundle(tmp_path / "bundles" / "parent", model_folder=model_folder, manifest=MANIFEST)


def test_a_child_has_the_model_and_the_roles_of_its_parent_and_names_it(full_bundle, tmp_path):
    manifest = replace(full_bundle.manifest, policy=Policy(prune=3.0, review=1.0, rests_on="another hand"))
    child = write_child(tmp_path / "child", full_bundle, manifest)
    assert Bundle.open(child.path) == child
    assert child.manifest.parent == full_bundle.digest != child.digest
    assert child.manifest.policy.prune == 3.0
    about_the_parent = {"README.md", "scores.png"}
    assert set(child.manifest.files) == set(full_bundle.manifest.files) - about_the_parent
    assert all(
        child.manifest.files[name] == full_bundle.manifest.files[name] for name in child.manifest.files
    )


def test_a_child_may_have_files_of_its_own(full_bundle, tmp_path):
    own = {"README.md": b"about the child", "prior.json": b"{}"}
    child = write_child(tmp_path / "child", full_bundle, MANIFEST, files=own)
    assert {name: (child.path / name).read_bytes() for name in own} == own
    with pytest.raises(BundleProblem, match=r"holds no \.\./x, modeling\.py"):
        write_child(tmp_path / "other", full_bundle, MANIFEST, files={"../x": b"", "modeling.py": b""})


def test_a_bundle_may_get_files_beside_those_of_its_model_folder(model_folder, tmp_path):
    own = {"roles.json": b"{}", "README.md": b"# new\n"}
    written = write_bundle(tmp_path / "b", model_folder=model_folder, manifest=MANIFEST, files=own)

    assert (Bundle.open(written.path).path / "README.md").read_bytes() == b"# new\n"
    with pytest.raises(BundleProblem, match="holds no modeling"):
        write_bundle(tmp_path / "c", model_folder=model_folder, manifest=MANIFEST, files={"modeling.py": b""})
    assert not (tmp_path / "c").exists()


def test_a_parent_that_was_altered_since_it_was_opened_has_no_child(full_bundle, tmp_path):
    (full_bundle.path / "model.safetensors").write_text("other weights")
    with pytest.raises(DigestMismatch, match=r"model\.safetensors was altered"):
        write_child(tmp_path / "children" / "one", full_bundle, MANIFEST)
    assert list((tmp_path / "children").iterdir()) == []


def test_a_child_never_overwrites(full_bundle):
    with pytest.raises(BundleProblem, match="never overwritten"):
        write_child(full_bundle.path, full_bundle, MANIFEST)
