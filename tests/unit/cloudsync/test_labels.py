"""Names of what tasks left."""

from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from cloudsync.labels import LABEL_BYTES, file_names, folded, label, labels

NAMES = st.one_of(
    st.text(max_size=250),
    st.text("a. /-2é😀", max_size=150),
    st.builds(lambda stem, end: f"{stem}.{end}", st.text("aé", max_size=120), st.text("aé .", max_size=20)),
)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a.txt", "a.txt"),
        ("at 12:30? <b>", "at 12:30? <b>"),
        ('"a"', "_a_"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "artifact"),
        (" . ", "artifact"),
        ("", "artifact"),
        (".bashrc", "bashrc"),
        ("a\0b\n.txt", "a_b_.txt"),
        ("C:\\x", "C:_x"),
        ("\u202etxt.exe", "_txt.exe"),
        ("\ud800", "_"),
    ],
)
def test_a_name_from_elsewhere_is_made_harmless_and_no_more(name: str, made: str) -> None:
    assert label(name) == made


def test_a_long_name_keeps_its_end_and_its_number() -> None:
    assert labels(["n" * 300 + ".zip"] * 2) == ["n" * 96 + ".zip", "n" * 94 + "-2.zip"]
    assert labels(["é" * 300, "x" + "." * 200 + "y"]) == ["é" * 50, "x.y"]


def test_names_that_differ_in_capitals_alone_are_one_name() -> None:
    assert labels(["a.png", "A.png", "a-2.png", "a.png"]) == ["a.png", "A-2.png", "a-2-2.png", "a-3.png"]
    assert label("Trace.zip", {"trace.zip"}) == "Trace-2.zip"


@settings(deadline=None)
@given(st.lists(NAMES, max_size=8))
def test_labels_are_short_and_differ_and_stay_as_they_are(names: list[str]) -> None:
    made = labels(names)
    assert all(0 < len(one.encode()) <= LABEL_BYTES for one in made)
    assert len({folded(one) for one in made}) == len(names)
    assert labels(made) == made


@settings(deadline=None)
@given(st.lists(NAMES, max_size=8))
def test_file_names_lead_nowhere_else_and_differ(names: list[str]) -> None:
    made = file_names(names)
    assert all(Path("/folder", name).parent == Path("/folder") and name[0] != "." for name in made)
    assert not set('/\\:*?"<>|\0') & set("".join(made))
    assert len({folded(one) for one in made}) == len(names)
