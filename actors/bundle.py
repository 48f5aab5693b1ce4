"""One versioned folder that holds all that a score depends on. Nothing is scored with parts of two.

`write_bundle` makes the folder whole or not at all; `Bundle.open` trusts nothing in it before every
digest is checked. Knows files, not what they mean: the weights are the encoder's business.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.errors import BundleProblem, DigestMismatch
from actors.manifest import FORMAT_VERSION, Manifest
from actors.prior import PRIOR_FILE

MANIFEST_FILE = "bundle.json"
WEIGHTS_FILE = "model.safetensors"
REQUIRED_FILES = (WEIGHTS_FILE, "config.json", "tokenizer.json")
# What transformers may want beside tokenizer.json, so that a bundle also opens as a model folder; and the prior.
OPTIONAL_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", PRIOR_FILE)


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
            BundleProblem: Not a bundle of this format; a file missing, surplus or malformed.
            DigestMismatch: A file, or the manifest itself, was altered.
        """
        folder = Path(path)
        manifest, stated_digest = _read_manifest(folder)
        present = {entry.name for entry in folder.iterdir()} - {MANIFEST_FILE}
        _refuse_unless(folder, sorted(set(REQUIRED_FILES) - set(manifest.files)), "the manifest lacks {}")
        _refuse_unless(folder, sorted(set(manifest.files) - present), "{} missing")
        _refuse_unless(folder, sorted(present - set(manifest.files)), "{} not in the manifest")
        _compare(folder, MANIFEST_FILE, expected=stated_digest, found=manifest.digest)
        for name, expected in manifest.files.items():
            _compare(folder, name, expected=expected, found=file_digest(folder / name))
        return cls(folder, manifest, stated_digest)


def write_bundle(folder: Path | str, *, model_folder: Path | str, manifest: Manifest) -> Bundle:
    """Make a bundle out of a model folder: whole, or not at all.

    Copies the weights, the configuration and the tokenizer into a sibling folder, names them in the
    manifest by digest, and renames the sibling into place.

    Args:
        folder: Where the bundle goes; must not exist, its parent is made.
        model_folder: A folder as `save_pretrained` writes it, with `model.safetensors`, `config.json` and
            `tokenizer.json`, and perhaps `prior.json`; other files than these and a tokenizer's are left behind.
        manifest: All but `files`, which is filled in here.

    Returns:
        The bundle that was written.

    Raises:
        BundleProblem: The folder exists, or the model folder lacks a file.
    """
    target, source = Path(folder), Path(model_folder)
    if target.exists():
        raise BundleProblem(str(target), "exists already, and a bundle is never overwritten")
    missing = [name for name in REQUIRED_FILES if not (source / name).is_file()]
    _refuse_unless(source, missing, "{} missing in the model folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _sibling(target) as draft:
        names = [*REQUIRED_FILES, *(name for name in OPTIONAL_FILES if (source / name).is_file())]
        for name in names:
            shutil.copyfile(source / name, draft / name)
        whole = replace(manifest, files={name: file_digest(draft / name) for name in names})
        text = json.dumps(whole.to_json() | {"digest": whole.digest}, indent=2, ensure_ascii=False)
        (draft / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
        try:
            draft.rename(target)
        except OSError as error:
            raise BundleProblem(str(target), f"cannot be put in place: {error.strerror}") from error
    return Bundle(target, whole, whole.digest)


def file_digest(path: Path) -> str:
    """`sha256:<hex>` of a file."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest and the digest that it states for itself."""
    try:
        data: Any = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        version, digest = data["format"], data["digest"]
    except FileNotFoundError as error:
        raise BundleProblem(str(folder), f"no {MANIFEST_FILE} there") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleProblem(str(folder), f"{MANIFEST_FILE} is not a manifest: {error!r}") from error
    if version != FORMAT_VERSION:
        raise BundleProblem(str(folder), f"format {version!r}; this release reads format {FORMAT_VERSION}")
    try:
        return Manifest.from_json(data), digest
    except (ValueError, KeyError, TypeError) as error:
        raise BundleProblem(str(folder), f"{MANIFEST_FILE} is malformed: {error!r}") from error


def _refuse_unless(folder: Path, offending: list[str], problem: str) -> None:
    if offending:
        raise BundleProblem(str(folder), problem.format(", ".join(offending)))


def _compare(folder: Path, file: str, *, expected: str, found: str) -> None:
    if found != expected:
        raise DigestMismatch(str(folder), file, expected, found)


@contextmanager
def _sibling(target: Path) -> Iterator[Path]:
    """A draft folder beside the target, on the same filesystem; gone afterwards unless renamed."""
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    draft.chmod(0o777 & ~_umask())
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
