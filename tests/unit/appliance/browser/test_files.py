"""Names and places of the files that a task keeps."""

from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from appliance.browser.files import NAME_LIMIT_BYTES, KeptFiles, name_of, short


def test_name_is_the_label_or_says_which_step_it_is_of() -> None:
    assert name_of(3, "screenshot", None, ".png") == "03-screenshot.png"
    assert name_of(123, "pdf", None, ".pdf") == "123-pdf.pdf"
    assert name_of(3, "screenshot", "shop", ".png") == "shop.png"
    assert name_of(3, "screenshot", "shop.PNG", ".png") == "shop.PNG"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "file"),
        ("", "file"),
        (".bashrc", "bashrc"),
        ("a\x00b\n.txt", "a_b_.txt"),
        ("\u202etxt.exe", "_txt.exe"),
    ],
)
def test_name_from_elsewhere_is_made_harmless(name: str, kept: str) -> None:
    assert short(name) == kept


@settings(deadline=None)
@given(st.text(max_size=400))
def test_any_name_is_short_and_names_no_other_folder(name: str) -> None:
    kept = short(name)
    assert 0 < len(kept.encode("utf-8", "surrogatepass")) <= NAME_LIMIT_BYTES
    assert Path(kept).name == kept
    assert kept not in {".", ".."}


def test_long_name_keeps_its_end() -> None:
    assert short("x" * 300 + ".pdf").endswith("x.pdf")


def test_files_have_places_and_names_of_their_own(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path)
    first = files.add(files.place(3, ".png"), "a.png", "image/png")
    second = files.add(files.place(3, ".png"), "A.png", "image/png")
    assert (first.name, second.name) == ("a.png", "A-2.png")
    assert (first.path, second.path) == (tmp_path / "003.png", tmp_path / "003-1.png")
    assert files.find("A-2.png") is second
    assert files.find("none") is None
