"""Pages that were not written for it, visited as browser tasks of a real box: each does what its file says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pages.packages import Package, PackageUnreachable, fetch, read_list
from tests.pages.site import Site
from tests.pages.visit import Visit, all_visits
from tests.system.api import Answer
from tests.system.plant import Plant
from tests.system.program import wait_until

WAIT_LIMIT_S = 90.0
# Characters of a page that failed, enough to see where it stood.
PAGE_SHOWN = 1500


@pytest.fixture(scope="module")
def sites() -> Iterator[dict[str, Site]]:
    """Each package, served by itself: many of them have addresses from the root on."""
    packages = read_list()
    fetch(list(packages.values()))
    sites = {pages: Site(package.folder() / package.root) for pages, package in packages.items()}
    yield sites
    for site in sites.values():
        site.close()


@pytest.fixture(scope="module")
def tasks(request: pytest.FixtureRequest, sites: dict[str, Site], shared_plant: Plant) -> dict[Visit, str]:
    """The tasks of all pages that this run tests, made at once: the box takes several at a time."""
    chosen = [item.callspec.params.get("visit") for item in request.session.items if hasattr(item, "callspec")]
    asked = [visit for visit in all_visits() if visit in chosen]
    return {
        visit: shared_plant.api().post("boxes/box-1/tasks", visit.task(sites[visit.package].url))["id"]
        for visit in asked
    }


def page_text(plant: Plant, task: dict[str, Any]) -> str:
    """The text of the page at which a task failed; empty where none was kept."""
    for artifact in task["artifacts"]:
        if artifact["name"] == "failure.txt":

            def look(path: str = f"artifacts/{artifact['id']}") -> Answer | None:
                answer = plant.api().ask("GET", path)
                return answer if answer.status == 200 else None

            return wait_until("the page's text", look).data.decode(errors="replace")
    return ""


def seen(plant: Plant, task: dict[str, Any]) -> str:
    """What a task that failed says, what its steps read, and what its page showed."""
    kept = ("action", "value", "error")
    ran = [step for step in (task["result"] or {}).get("steps", []) if step["state"] != "skipped"]
    said = [task["error"], *({key: step[key] for key in kept} for step in ran)]
    return "\n".join([*map(json.dumps, said), page_text(plant, task)[:PAGE_SHOWN]])


@pytest.mark.parametrize("visit", all_visits(), ids=str)
def test_page_does_what_its_file_says(visit: Visit, tasks: dict[Visit, str], shared_plant: Plant) -> None:
    task = shared_plant.wait_task(tasks[visit], limit_s=WAIT_LIMIT_S)
    assert task["state"] == "succeeded", seen(shared_plant, task)
    assert {step["state"] for step in task["result"]["steps"]} == {"succeeded"}


def test_a_package_that_is_not_what_the_list_says_is_refused(tmp_path: Path) -> None:
    real = read_list()["sb-admin-2"]
    fake = Package(real.name, real.version, "sha512-" + "A" * 86 + "==", real.root, real.pages)
    with pytest.raises(PackageUnreachable, match="came with the digest sha512-"):
        fetch([fake], tmp_path)
    assert not fake.folder(tmp_path).exists()


def test_a_package_that_cannot_be_fetched_says_what_to_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(PackageUnreachable, match="is the network away"):
        fetch([read_list()["sb-admin-2"]], tmp_path)
