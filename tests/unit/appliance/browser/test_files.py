"""Names and places of the files that a task keeps."""

from pathlib import Path

from appliance.browser.files import KeptFiles, name_of
from cloudsync.labels import RESERVED, labels


def test_name_is_the_label_or_says_which_step_it_is_of() -> None:
    assert name_of(3, "screenshot", None, ".png") == "03-screenshot.png"
    assert name_of(123, "pdf", None, ".pdf") == "123-pdf.pdf"
    assert name_of(3, "screenshot", "shop", ".png") == "shop.png"
    assert name_of(3, "screenshot", "shop.PNG", ".png") == "shop.PNG"


def test_files_have_places_and_names_of_their_own(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path)
    first = files.add(files.place(3, ".png"), "a.png", "image/png")
    second = files.add(files.place(3, ".png"), "A.png", "image/png")
    assert (first.name, second.name) == ("a.png", "A-2.png")
    assert (first.path, second.path) == (tmp_path / "003.png", tmp_path / "003-1.png")
    assert files.find("A-2.png") is second
    assert files.find("none") is None


def test_names_are_those_that_the_store_gives_them_and_none_is_for_what_the_box_leaves(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path)
    given = ["Trace.zip", "result.json", "failure.png", "failure.txt", 'a "b".png', "é" * 100 + ".png", "..", "failure"]
    for number, name in enumerate(given):
        files.add(files.place(number, ""), name, "")
    names = [file.name for file in files.kept]
    assert names[:5] == ["Trace-2.zip", "result-2.json", "failure-2.png", "failure-2.txt", "a _b_.png"]
    assert labels([*names, *RESERVED]) == [*names, *RESERVED]
