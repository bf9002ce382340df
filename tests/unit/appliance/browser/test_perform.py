"""The steps of a task as a whole: order, results, variables, deadlines, secrets."""

import pytest

from tests.unit.appliance.browser.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

HELLO = "<title>Hello</title><h1 id=a>Hello there</h1>"


async def test_steps_run_in_order_and_each_is_told_as_it_ends(stage: Stage) -> None:
    stage.pages.at["/"] = HELLO
    outcome = await stage.perform(
        {"action": "goto", "url": "@/"},
        {"action": "text", "selector": "h1", "name": "heading"},
        {"action": "screenshot"},
    )
    assert (outcome.state, outcome.error) == ("succeeded", None)
    goto, text, shot = outcome.results
    assert goto.value == {"url": f"{stage.pages.url}/", "status": 200}
    assert (text.action, text.name, text.state, text.value) == ("text", "heading", "succeeded", "Hello there")
    assert shot.value == "03-screenshot.png"
    assert stage.told == list(enumerate(outcome.results))
    (file,) = outcome.files
    assert (file.name, file.media_type, file.path.read_bytes()[:4]) == ("03-screenshot.png", "image/png", b"\x89PNG")


async def test_first_step_that_fails_ends_the_task_and_the_rest_are_skipped(stage: Stage) -> None:
    stage.pages.at["/"] = HELLO
    outcome = await stage.perform(
        {"action": "goto", "url": "@/"},
        {"action": "click", "selector": "#none", "timeout_s": 0.3},
        {"action": "title"},
    )
    assert [result.state for result in outcome.results] == ["succeeded", "failed", "skipped"]
    assert outcome.error is not None
    assert outcome.error.code == "step_failed"
    assert outcome.error.message == (
        f'step 2 (click): not done within 0.3 s: waiting for locator("#none") (on {stage.pages.url}/)'
    )
    assert outcome.results[1].error == outcome.error
    assert outcome.page is not None
