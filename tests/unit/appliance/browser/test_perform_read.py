"""Reading from a page."""

from typing import Any

import pytest

from appliance.browser.perform_read import CELLS_LIMIT, CHARACTERS_LIMIT
from tests.unit.appliance.browser.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_text_value_attribute_html_count_title_and_url(stage: Stage) -> None:
    stage.pages.at["/page"] = (
        "<title>T</title><p id=p class='a b'>one <b>two</b><span hidden>no</span></p><p>three</p><input value=v>"
    )
    values = await stage.values(
        {"action": "goto", "url": "@/page"},
        {"action": "text", "selector": "#p"},
        {"action": "text"},
        {"action": "value", "selector": "input"},
        {"action": "attribute", "selector": "#p", "attribute": "class"},
        {"action": "attribute", "selector": "#p", "attribute": "href"},
        {"action": "inner_html", "selector": "#p"},
        {"action": "count", "selector": "p"},
        {"action": "count", "selector": ".none"},
        {"action": "title"},
        {"action": "url"},
    )
    assert values[1:] == [
        "one two", "one two\n\nthree", "v", "a b", None, "one <b>two</b><span hidden=\"\">no</span>", 2, 0, "T",
        f"{stage.pages.url}/page",
    ]  # fmt: skip


@pytest.mark.parametrize("step", [
    {"action": "text", "selector": "#none"},
    {"action": "value", "selector": "#none"},
    {"action": "attribute", "selector": "#none", "attribute": "x"},
    {"action": "inner_html", "selector": "#none"},
    {"action": "table"},
    {"action": "links", "selector": "#none"},
    {"action": "evaluate", "expression": "e => 1", "selector": "#none"},
    {"action": "aria_snapshot", "selector": "#none"},
])  # fmt: skip
async def test_what_is_not_there_is_said_when_the_time_is_over(stage: Stage, step: dict[str, Any]) -> None:
    said = await stage.fails("<p>x</p>", {**step, "timeout_s": 0.3})
    assert "not done within 0.3 s: waiting for locator(" in said


async def test_page_that_is_huge_is_read_in_part(stage: Stage) -> None:
    html = "<p id=p></p><script>p.textContent = 'x'.repeat(3_000_000)</script>"
    read = {"action": "text", "selector": "p", "save_as": "t"}
    count = {"action": "evaluate", "expression": "t => t.slice(-40)", "arg": "{{t}}"}
    assert (await stage.on(html, read, count)).endswith("[… 2500000 characters left out …]")
    assert (await stage.on(html, {"action": "inner_html"})).endswith("characters left out …]")


HUGE = "'x'.repeat(3_000_000)"


@pytest.mark.parametrize(
    ("html", "step"),
    [
        (f"<p>p</p><script>document.title = {HUGE}</script>", {"action": "title"}),
        (f"<textarea></textarea><script>document.querySelector('textarea').value = {HUGE}</script>",
         {"action": "value", "selector": "textarea"}),
        (f"<p>p</p><script>document.querySelector('p').lang = {HUGE}</script>",
         {"action": "attribute", "selector": "p", "attribute": "lang"}),
    ],
)  # fmt: skip
async def test_what_is_huge_is_cut_in_the_page(stage: Stage, html: str, step: dict[str, Any]) -> None:
    count = {"action": "evaluate", "expression": "t => [t.length, t.slice(-40)]", "arg": "{{t}}"}
    length, end = await stage.on(html, {**step, "save_as": "t"}, count)
    assert length < CHARACTERS_LIMIT + 100
    assert end.endswith("[… 2500000 characters left out …]")


@pytest.mark.parametrize("step", [
    {"action": "links"},
    {"action": "table"},
    {"action": "extract", "fields": {"all": ["td"], "hrefs": {"selector": "a", "attribute": "href", "all": True}}},
])  # fmt: skip
async def test_texts_of_one_answer_share_the_room(stage: Stage, step: dict[str, Any]) -> None:
    html = f"""<table></table><script>
        const long = {HUGE}.slice(0, 300_000)
        for (let i = 0; i < 10; i++) {{
            const cell = document.querySelector('table').insertRow().insertCell()
            cell.innerHTML = '<a>'
            Object.assign(cell.firstChild, {{textContent: long, href: '/' + long}})
        }}</script>"""
    count = {"action": "evaluate", "expression": "v => JSON.stringify(v).length", "arg": "{{v}}"}
    parts = len(step.get("fields", "x"))
    assert await stage.on(html, {**step, "save_as": "v"}, count) < parts * (CHARACTERS_LIMIT + 5000)


async def test_table_that_spans_without_end_is_cut_in_the_page(stage: Stage) -> None:
    html = "<table hidden>" + ("<tr>" + "<td colspan=1000 rowspan=60000>x" * 40) * 50 + "</table>"
    read = {"action": "table", "timeout_s": 20, "save_as": "t"}
    many = {"action": "evaluate", "expression": "t => [JSON.parse(t).flat().length, t.slice(-40)]", "arg": "{{t}}"}
    cells, end = await stage.on(html, read, many)
    assert cells < CELLS_LIMIT
    assert "too many" in end
    long = "<table><tr><th>" + "n" * 5000 + "<th>" + "n" * 5000 + "<tr><td>1<td>2</table>"
    assert await stage.on(long, {"action": "table"}) == [{"n" * 200: "1", "n" * 200 + " 2": "2"}]


async def test_value_of_a_label_is_that_of_its_field(stage: Stage) -> None:
    html = "<label for=i><b>Name</b></label><input id=i value=ann><select><option>one<option selected>two</select>"
    assert await stage.on(html, {"action": "value", "selector": "label"}) == "ann"
    assert await stage.on(html, {"action": "value", "selector": "label b"}) == "ann"
    assert await stage.on(html, {"action": "value", "selector": "select"}) == "two"


async def test_page_that_tampers_with_what_scripts_use_fails_its_step_alone(stage: Stage) -> None:
    stage.pages.at["/page"] = "<p>x</p><script>String.prototype.slice = () => ({})</script>"
    tangle = "() => { let a = []; for (let i = 0; i < 60; i++) a = [a, a]; return a }"
    await stage.perform(
        {"action": "goto", "url": "@/page"},
        {"action": "text", "continue_on_error": True},
        {"action": "links"},
        {"action": "evaluate", "expression": tangle},
    )
    assert [result.state for result in stage.results] == ["succeeded", "failed", "succeeded", "succeeded"]
    assert stage.results[1].error is not None
    assert "the page gave what could not be used (AttributeError)" in stage.results[1].error.message


async def test_value_of_what_has_none_is_said(stage: Stage) -> None:
    assert "not an <input>" in (await stage.fails("<p>x</p>", {"action": "value", "selector": "p"})).lower()


TABLES: list[tuple[str, dict[str, Any], Any]] = [
    ("<table><tr><th>Name<th>Age<tr><td>Ann<td>3<tr><td>Bob<td>4</table>", {},
     [{"Name": "Ann", "Age": "3"}, {"Name": "Bob", "Age": "4"}]),
    ("<table><thead><tr><td>A<td>B</thead><tbody><tr><td>1<td>2</table>", {}, [{"A": "1", "B": "2"}]),
    ("<table><tr><td>1<td>2<tr><td>3<td>4</table>", {}, [["1", "2"], ["3", "4"]]),
    ("<table><tr><td>k<td>l<tr><td>3<td>4</table>", {"header": True}, [{"k": "3", "l": "4"}]),
    ("<table><tr><th>k<th>l<tr><td>3<td>4</table>", {"header": False}, [["k", "l"], ["3", "4"]]),
    ("<table><tr><th>a<th>a<th><tr><td>1<td>2<td>3</table>", {}, [{"a": "1", "a 2": "2", "column 3": "3"}]),
    ("<table><tr><th>a<th>b<tr><td rowspan=2>1<td>2<tr><td>3<tr><td colspan=2>4</table>", {},
     [{"a": "1", "b": "2"}, {"a": "1", "b": "3"}, {"a": "4", "b": "4"}]),
    ("<table><thead><tr><th colspan=2>both<tr><th>x<th>y</thead><tr><td>1<td>2</table>", {}, [{"x": "1", "y": "2"}]),
    ("<table><tr><th>r1<td>1<tr><th>r2<td>2</table>", {}, [["r1", "1"], ["r2", "2"]]),
    ("<table></table>", {}, []),
    ("<table id=o><tr><td><table><tr><td>in</table></table><table id=u><tr><td>second</table>", {"selector": "#u"},
     [["second"]]),
]  # fmt: skip


@pytest.mark.parametrize(("html", "more", "rows"), TABLES)
async def test_table_becomes_rows(stage: Stage, html: str, more: dict[str, Any], rows: Any) -> None:
    assert await stage.on(html, {"action": "table", **more}) == rows


async def test_links_have_text_and_whole_address(stage: Stage) -> None:
    html = "<nav><a href=/a>A</a> <a>none</a><a href='b?x=1'> B\n b </a></nav><a href='http://o.example/'>o</a>"
    here = stage.pages.url
    both = [{"text": "A", "href": f"{here}/a"}, {"text": "B b", "href": f"{here}/b?x=1"}]
    assert await stage.on(html, {"action": "links", "selector": "nav"}) == both
    assert await stage.on(html, {"action": "links"}) == [*both, {"text": "o", "href": "http://o.example/"}]
    assert await stage.on(html, {"action": "links", "selector": "nav a >> nth=0"}) == both[:1]


async def test_extract_reads_names_lists_attributes_and_objects(stage: Stage) -> None:
    html = (
        "<h1> Shop </h1><ul><li class=i><a href=/1>One</a><b>1 €</b><i>x</i><i>y</i></li>"
        "<li class=i><a href=/2>Two</a></li></ul>"
    )
    fields = {
        "title": "h1",
        "none": "h2",
        "names": ["li a"],
        "nothing": [".x"],
        "first": {"selector": "a", "attribute": "href"},
        "all": {"selector": "a", "attribute": "href", "all": True},
        "by text": "text=Two",
        "items": {
            "selector": "li",
            "all": True,
            "fields": {"name": "a", "price": "b", "tags": ["i"], "href": {"selector": "a", "attribute": "href"}},
        },
        "one": {"selector": "li", "fields": {"name": "a"}},
        "no one": {"selector": "ol", "fields": {"name": "a"}},
    }
    assert await stage.on(html, {"action": "extract", "fields": fields}) == {
        "title": "Shop",
        "none": None,
        "names": ["One", "Two"],
        "nothing": [],
        "first": "/1",
        "all": ["/1", "/2"],
        "by text": "Two",
        "items": [
            {"name": "One", "price": "1 €", "tags": ["x", "y"], "href": "/1"},
            {"name": "Two", "price": None, "tags": [], "href": "/2"},
        ],
        "one": {"name": "One"},
        "no one": None,
    }
    inside = {"action": "extract", "selector": "li:nth-child(2)", "fields": {"name": "a"}}
    assert await stage.on(html, inside) == {"name": "Two"}


@pytest.mark.parametrize(
    ("step", "value"),
    [
        ({"expression": "1 + 1"}, 2),
        ({"expression": "() => ({a: [1, null, 'x'], b: undefined, c: NaN, d: new Date(0)})"},
         {"a": [1, None, "x"], "b": None, "c": None, "d": "1970-01-01T00:00:00+00:00"}),
        ({"expression": "async x => x.a + 1", "arg": {"a": 4}}, 5),
        ({"expression": "(e, more) => e.textContent + more", "arg": "!", "selector": "p"}, "x!"),
        ({"expression": "undefined"}, None),
        ({"expression": "'\\ud800x'"}, "\ufffdx"),
        ({"expression": "document.querySelector('p')"}, "ref: <Node>"),
        ({"expression": "2n ** 70n"}, "0x400000000000000000"),
    ],
)  # fmt: skip
async def test_evaluate_gives_json(stage: Stage, step: dict[str, Any], value: Any) -> None:
    assert await stage.on("<p>x</p>", {"action": "evaluate", **step}) == value


async def test_evaluate_of_what_refers_to_itself_ends(stage: Stage) -> None:
    value = await stage.on("<p>", {"action": "evaluate", "expression": "() => { const a = {}; a.a = a; return a }"})
    assert "[… too deep …]" in str(value)


async def test_script_that_throws_hangs_or_is_none_is_said(stage: Stage) -> None:
    run = {"action": "evaluate", "timeout_s": 0.5}
    assert ": no way (on" in await stage.fails("<p>", {**run, "expression": "() => { throw new Error('no way') }"})
    assert "SyntaxError" in await stage.fails("<p>", {**run, "expression": "((("})
    said = await stage.fails("<p>", {**run, "expression": "new Promise(() => {})"})
    assert "did not answer within" in said


async def test_aria_snapshot_is_short_and_says_what_was_left_out(stage: Stage) -> None:
    html = "<h1>Shop</h1><button>Buy</button>" + "".join(f"<a href=/{n}>link {n}</a>" for n in range(300))
    text = await stage.on(html, {"action": "aria_snapshot", "max_chars": 500})
    assert text.startswith('- heading "Shop" [level=1]\n- button "Buy"\n')
    assert len(text) < 600
    assert "characters left out" in text
    assert "[ref=" in await stage.on(html, {"action": "aria_snapshot", "mode": "ai"})
    said = await stage.fails("<div id=e></div>", {"action": "aria_snapshot", "selector": "#e"})
    assert "nothing that assistive technology sees" in said
