import pytest

from actors.files import draft_beside, file_digest


def test_a_digest_is_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    assert (
        file_digest(tmp_path / "a")
        == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_a_draft_that_was_renamed_stays(tmp_path):
    target = tmp_path / "new" / "one"
    with draft_beside(target) as draft:
        (draft / "file").write_text("x")
        draft.rename(target)
    assert [path.name for path in target.parent.iterdir()] == ["one"]


def test_a_draft_that_was_not_is_gone(tmp_path):
    with pytest.raises(FileExistsError), draft_beside(tmp_path / "one") as draft:
        draft.mkdir()
    assert list(tmp_path.iterdir()) == []
