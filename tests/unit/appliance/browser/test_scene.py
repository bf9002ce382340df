"""What steps act on: time and places."""

import asyncio
from pathlib import Path

import pytest

from appliance.browser.files import KeptFiles
from appliance.browser.scene import LEAST_MS, Scene
from appliance.browser.tabs import Tabs
from cloudsync.step.read import ReadText
from tests.unit.appliance.browser.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")


def scene_of(stage: Stage, folder: Path) -> Scene:
    return Scene(Tabs(stage.context, with_responses=False), KeptFiles(folder), lambda _: None)


async def test_time_that_is_left_is_never_none_at_all(stage: Stage, tmp_path: Path) -> None:
    scene = scene_of(stage, tmp_path)
    now = asyncio.get_running_loop().time()
    scene.deadline_s = now + 5
    assert 4 < scene.left_s() <= 5
    assert 4000 < scene.left_ms() <= 5000
    scene.deadline_s = now - 5
    assert (scene.left_s(), scene.left_ms()) == (0, LEAST_MS)
    scene.tabs.close()


async def test_frames_are_gone_into_one_after_the_other(stage: Stage, tmp_path: Path) -> None:
    scene = scene_of(stage, tmp_path)
    scene.deadline_s = asyncio.get_running_loop().time() + 10
    await scene.page.set_content(
        "<iframe id=a srcdoc='<iframe id=b srcdoc=&quot;<p>deep</p>&quot;></iframe>'></iframe>"
    )
    step = ReadText(action="text", selector="p", frame=("#a", "#b"))
    assert await scene.locate(step, "p").inner_text() == "deep"
    frame = await scene.frame(step)
    assert await frame.evaluate("document.body.innerText") == "deep"
    assert await scene.frame(ReadText(action="text")) is scene.page
    scene.tabs.close()
