"""One versioned folder that holds all that a score depends on. Nothing is scored with parts of two.

`write_bundle` and `write_child` make the folder whole or not at all; `Bundle.open` trusts nothing in it before
every digest is checked, and no file in it is ever run. Knows files, not what they mean: the weights are the
encoder's business. The folder, file by file: docs/bundle-format.md.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.errors import BundleProblem, DigestMismatch
from actors.files import draft_beside, file_digest
from actors.kinds import MALFORMED
from actors.manifest import SCHEMA_VERSION, Manifest, canonical_json, sha256
from actors.prior import PRIOR_FILE

MANIFEST_FILE = "sluice.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
PLOT_FILES = ("reliability.png", "scores.png", "coverage.png")
"""What `learn.plots` draws, in its order."""
EXPORT_FILES = ("openvino_model.xml", "openvino_model.bin")
"""The graph of an encoder that was exported, and its weights; no code is in them, whatever the second's name."""
PROBES_FILE = "probes.arrow"
REQUIRED_FILES = (WEIGHTS_FILE, "config.json", "tokenizer.json")
# What transformers may want beside tokenizer.json, so that a bundle also opens as a model folder; the prior;
# what another engine computes; pairs with their logits (`probes`); which query had which role
# (`learn.roles.ROLES_FILE`); and what people read.
OPTIONAL_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    PRIOR_FILE,
    *EXPORT_FILES,
    PROBES_FILE,
    "roles.json",
    CARD_FILE,
    *PLOT_FILES,
)
FILES = (*REQUIRED_FILES, *OPTIONAL_FILES)
"""All that a bundle may hold beside its manifest. A file that no release knows may change what a score means."""

_MANIFEST_OF_SCHEMA_1 = "bundle.json"
_PICKLED = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
_MAY_NAME_CODE = ("config.json", "tokenizer_config.json")
_N_NAMED = 3


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder whose every byte was checked against its manifest when it was opened."""

    path: Path
    manifest: Manifest
    digest: str
    """`sha256:<hex>`, the identity that goes into every verdict."""

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Check the folder, file by file, and read its manifest. Reads every byte once.

        Args:
            path: The bundle's folder.

        Returns:
            The bundle, fit to be used.

        Raises:
            BundleProblem: Not a bundle of this schema; a file missing, surplus, malformed, unreadable, elsewhere
                or with code of its own.
            DigestMismatch: A file, or the manifest itself, was altered.
        """
        folder = Path(path)
        with _saying(folder, "cannot be read"):
            manifest, digest = read_manifest(folder)
            present = {entry.name for entry in folder.iterdir()} - {MANIFEST_FILE}
            check_names(folder, named=set(manifest.files), present=present)
            _refuse_elsewhere(folder, manifest)
            for name, expected in manifest.files.items():
                _compare(folder, name, expected=expected, found=file_digest(folder / name))
            _refuse_code(folder)
        return cls(folder, manifest, digest)


def refuse_existing(folder: Path) -> None:
    """Refuse a place where something is; also to be asked before work is done for it.

    Args:
        folder: Where a bundle shall go.

    Raises:
        BundleProblem: Something is there, or whether it is cannot be told.
    """
    with _saying(folder, "cannot be written"):
        there = folder.exists()
    if there:
        raise BundleProblem(str(folder), "exists already, and a bundle is never overwritten")


def write_bundle(
    folder: Path | str,
    *,
    model_folder: Path | str,
    manifest: Manifest,
    files: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Make a bundle out of a model folder: whole, or not at all.

    Copies what a bundle may hold into a sibling folder, names it in the manifest by digest, and renames the
    sibling into place.

    Args:
        folder: Where the bundle goes; must not exist, its parent is made.
        model_folder: A folder as `save_pretrained` writes it, with `REQUIRED_FILES` and perhaps some of
            `OPTIONAL_FILES`; other files are left behind.
        manifest: All but `files`, which is filled in here.
        files: Contents by name, of `FILES`; they replace the model folder's or come in addition.

    Returns:
        The bundle that was written.

    Raises:
        BundleProblem: The folder exists, the model folder lacks a file or names code of its own, a name is none of
            a bundle's, the manifest holds what JSON cannot say, or a file cannot be read or written.
    """
    target, source, own = Path(folder), Path(model_folder), dict(files or {})
    _refuse_foreign(target, own)
    with _saying(target, "cannot be written"):
        refuse_existing(target)
        missing = [name for name in REQUIRED_FILES if not (source / name).is_file()]
        _refuse_if(source, missing, "{} missing in the model folder")
        with draft_beside(target) as draft:
            for name in FILES:
                if name not in own and (source / name).is_file():
                    shutil.copyfile(source / name, draft / name)
            _write_all(draft, own)
            return _put_in_place(draft, target, manifest)


def write_child(
    folder: Path | str, parent: Bundle, manifest: Manifest, *, files: Mapping[str, bytes] | None = None
) -> Bundle:
    """Make a bundle with the model of another, such as one with other thresholds: whole, or not at all.

    The parent's card and plots stay behind: they are about the parent. So do its export and its probes where the
    child is computed in another way.

    Args:
        folder: Where the bundle goes; must not exist, its parent folder is made.
        parent: Whose weights, configuration, tokenizer, prior and roles it gets, byte by byte.
        manifest: All but `files` and `parent`, which are filled in here.
        files: Contents by name, of `FILES`; they replace the parent's or come in addition.

    Returns:
        The bundle that was written.

    Raises:
        BundleProblem: The folder exists, a name is none of a bundle's, the manifest holds what JSON cannot say, or
            a file cannot be read or written.
        DigestMismatch: The parent was altered since it was opened.
    """
    target, own = Path(folder), dict(files or {})
    _refuse_foreign(target, own)
    left = {CARD_FILE, *PLOT_FILES}
    if manifest.serving != parent.manifest.serving:
        left |= {*EXPORT_FILES, PROBES_FILE}
    inherited = set(parent.manifest.files) - set(own) - left
    with _saying(target, "cannot be written"):
        refuse_existing(target)
        with draft_beside(target) as draft:
            for name in inherited:
                shutil.copyfile(parent.path / name, draft / name)
                found = file_digest(draft / name)
                _compare(parent.path, name, expected=parent.manifest.files[name], found=found)
            _write_all(draft, own)
            return _put_in_place(draft, target, replace(manifest, parent=parent.digest))


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """What a folder says that it is, and nothing of whether its files are so.

    Args:
        folder: The bundle's.

    Returns:
        The manifest, as its digest says it was written, and that digest.

    Raises:
        BundleProblem: There is none, or none of this schema.
        DigestMismatch: It was altered.
    """
    with _saying(folder, "cannot be read"):
        file = folder / MANIFEST_FILE
        if not file.is_file():  # before it is read: a pipe would never end
            raise BundleProblem(str(folder), _no_manifest(folder))
        content = file.read_bytes()
    try:
        data: Any = json.loads(content)
        version, digest = data.pop("schema"), data.pop("digest")
    except MALFORMED as error:
        raise BundleProblem(str(folder), f"{MANIFEST_FILE} is not a manifest: {error!r}") from error
    if version != SCHEMA_VERSION:
        raise BundleProblem(str(folder), _other_schema(version))
    try:
        found = sha256(canonical_json(data | {"schema": version}))
        manifest = Manifest.from_json(data)
        written = manifest.digest
    except MALFORMED as error:
        raise BundleProblem(str(folder), f"{MANIFEST_FILE} is malformed: {error!r}") from error
    _compare(folder, MANIFEST_FILE, expected=digest, found=found)
    if written != found:  # something in it would be believed by nobody, or read by each in another way
        problem = f"{MANIFEST_FILE} is malformed: it holds what schema {SCHEMA_VERSION} does not have"
        raise BundleProblem(str(folder), problem)
    return manifest, digest


def check_names(place: Path | str, *, named: set[str], present: set[str]) -> None:
    """What is there is what the manifest names, and what it names a bundle may hold.

    Args:
        place: The bundle's folder or address.
        named: Files in the manifest.
        present: Files beside the manifest.

    Raises:
        BundleProblem: One is missing, surplus, pickled, or none of a bundle's.
    """
    foreign = (named | present) - set(FILES)
    pickled = sorted(name for name in foreign if name.lower().endswith(_PICKLED))
    _refuse_if(
        place, pickled, f"{{}} may be pickled, and what is can run code; weights are in {WEIGHTS_FILE}"
    )
    _refuse_if(place, sorted(named - set(FILES)), "the manifest names {}, which no bundle holds")
    _refuse_if(place, sorted(set(REQUIRED_FILES) - named), "the manifest lacks {}")
    _refuse_if(place, sorted(named - present), "{} missing")
    _refuse_if(place, sorted(present - named), "{} not in the manifest")


def read_config(folder: Path) -> dict[str, Any]:
    """The model's configuration, `config.json` of a checked bundle.

    Args:
        folder: The bundle's.

    Returns:
        What it says.

    Raises:
        BundleProblem: It says nothing.
    """
    try:
        return {**json.loads((folder / "config.json").read_text(encoding="utf-8"))}
    except (OSError, *MALFORMED) as error:
        raise BundleProblem(str(folder), f"config.json is malformed: {error!r}") from error


def _refuse_foreign(target: Path, own: Mapping[str, bytes]) -> None:
    _refuse_if(target, sorted(set(own) - set(FILES)), "a bundle holds no {}")


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _put_in_place(draft: Path, target: Path, manifest: Manifest) -> Bundle:
    """Write the manifest of what is in the draft, and rename the draft."""
    _refuse_code(draft)
    names = [name for name in FILES if (draft / name).is_file()]
    whole = replace(manifest, files={name: file_digest(draft / name) for name in names})
    try:
        digest = whole.digest
        text = json.dumps(whole.to_json() | {"digest": digest}, indent=2, ensure_ascii=False)
    except (ValueError, TypeError) as error:
        raise BundleProblem(str(target), f"its manifest cannot be said in JSON: {error}") from error
    (draft / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
    try:
        draft.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            refuse_existing(target)  # somebody was quicker
        raise
    return Bundle(target, whole, digest)


def _no_manifest(folder: Path) -> str:
    if (folder / _MANIFEST_OF_SCHEMA_1).is_file():
        return (
            f"{_MANIFEST_OF_SCHEMA_1} is of schema 1, which only older releases read; this one reads schema "
            f"{SCHEMA_VERSION}: make the bundle anew"
        )
    return (
        f"{MANIFEST_FILE} is no plain file"
        if (folder / MANIFEST_FILE).exists()
        else f"no {MANIFEST_FILE} there"
    )


def _other_schema(version: object) -> str:
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return (
            f"schema {version} is newer than this release, which reads schema {SCHEMA_VERSION}: "
            "install the release that wrote it, or a later one"
        )
    return f"schema {version!r}; this release reads schema {SCHEMA_VERSION}"


def _refuse_elsewhere(folder: Path, manifest: Manifest) -> None:
    home, every = folder.resolve(), sorted((*manifest.files, MANIFEST_FILE))
    outside = [name for name in every if (folder / name).resolve().parent != home]
    _refuse_if(folder, outside, "{} leads out of the folder")
    _refuse_if(folder, [name for name in every if not (folder / name).is_file()], "{} is no plain file")


def _refuse_code(folder: Path) -> None:
    """A configuration may name Python files for transformers to fetch and run. We never do; here it is said."""
    for name in _MAY_NAME_CODE:
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError):
            continue  # whoever needs it says so
        if isinstance(config, dict) and config.get("auto_map"):
            problem = (
                f"{name} asks for code of its own (auto_map), which is never run; use a model without it"
            )
            raise BundleProblem(str(folder), problem)


def _refuse_if(place: Path | str, offending: list[str], problem: str) -> None:
    if offending:
        named = ", ".join(name if name.isprintable() else ascii(name) for name in offending[:_N_NAMED])
        more = f" and {len(offending) - _N_NAMED} more" if len(offending) > _N_NAMED else ""
        raise BundleProblem(str(place), problem.format(named + more))


def _compare(folder: Path, file: str, *, expected: str, found: str) -> None:
    if found != expected:
        raise DigestMismatch(str(folder), file, expected, found)


@contextmanager
def _saying(folder: Path, what: str) -> Iterator[None]:
    """Whatever the system refuses, in one line."""
    try:
        yield
    except OSError as error:
        where = "" if error.filename is None else f" ({error.filename})"
        raise BundleProblem(str(folder), f"{what}: {error.strerror or error}{where}") from error
