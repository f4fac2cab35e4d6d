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
