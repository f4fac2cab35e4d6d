"""Every error class has a page that says what to do."""

import pathlib

import pytest

from kvarn import errors

PAGES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "errors"


@pytest.mark.parametrize("cls", errors.OpError.__subclasses__(), ids=lambda c: c.__name__)
def test_every_error_class_has_a_page_that_is_listed(cls: type[errors.OpError]) -> None:
    page = PAGES / f"{cls.__name__}.md"
    assert page.exists()
    assert page.read_text().count("|") >= 9, "a page has a table of situations and cures"
    assert f"({cls.__name__}.md)" in (PAGES / "README.md").read_text()


def test_no_page_is_left_without_its_class() -> None:
    known = {c.__name__ for c in errors.OpError.__subclasses__()}
    assert {p.stem for p in PAGES.glob("*.md")} - {"README"} == known


def test_codes_and_classes_are_one_to_one() -> None:
    for code in range(1, 17):
        cls = errors.exception_type_from_error_code(code)
        assert errors.error_code_from_exception_type(cls) == code
        assert type(errors._make_specific_exception(None, None, "a", code)) is cls


def test_unknown_codes_and_classes_bring_a_warning() -> None:
    with pytest.warns(UserWarning, match="Unknown error code: 37"):
        found = errors._make_specific_exception(None, None, "a", 37)
    assert (type(found), found.error_code) == (errors.UnknownError, 37)
    with pytest.warns(UserWarning, match="Unknown class exception"):
        assert errors.error_code_from_exception_type("Unknown").error_code == -1
