"""The page at ``/`` in a real browser: with scripts and without, by keyboard, narrow, dark, and heard."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from linkpeek.capture.executable import find_executable
from tests.live.running import Service, free_port, running_service
from tests.live.site import Site

#: Milliseconds: time enough for a capture on a busy machine.
CAPTURE = 40_000
expect.set_options(timeout=CAPTURE)
READY = "#result[data-state=ready]"
NARROW = {"width": 320, "height": 568}
#: What WCAG 2.2 AA and common sense ask for; see axe-core's "rule tags".
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service"), wait=20) as service:
        yield service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_executable()))
        yield browser
        browser.close()


class Visit:
    """Makes pages for visitors of different kinds, and notes what their browsers complain about."""

    def __init__(self, browser: Browser, service: Service) -> None:
        self.complaints: list[str] = []
        self._browser, self._service = browser, service
        self._contexts: list[BrowserContext] = []

    def __call__(self, path: str = "/", **kind: object) -> Page:
        context = self._browser.new_context(base_url=self._service.address, **kind)
        context.set_default_timeout(CAPTURE)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(path)
        return page

    def end(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Visit]:
    visit = Visit(browser, service)
    yield visit
    visit.end()
    # Chromium itself notes every answer of 4xx; a broken policy or script would be noted, too.
    assert [line for line in visit.complaints if "the server responded with a status of 4" not in line] == []


def ask(page: Page, uri: str, **choices: str) -> None:
    """Fill in the form and send it, by mouse."""
    page.get_by_label("Web address").fill(uri)
    for name, label in choices.items():
        choose(page, name.capitalize(), label)
    page.get_by_role("button", name="Capture", exact=True).click()


def choose(page: Page, group: str, label: str) -> None:
    page.get_by_role("group", name=group).get_by_role("radio", name=re.compile(f"^{label}")).click()


def picture_size(page: Page) -> list[int]:
    image = page.locator("#result img")
    expect(image).to_be_visible()
    return image.evaluate(
        "async image => { await image.decode(); return [image.naturalWidth, image.naturalHeight] }"
    )


def arrive(page: Page, pattern: str = "/captures/") -> None:
    """Wait for the picture that belongs to the address of the page."""
    page.wait_for_url(re.compile(pattern))
    path = page.url.partition("/captures/")[2]
    page.wait_for_selector(f'{READY}[data-json="/captures/{path}"]')


def headline(page: Page) -> str:
    return page.locator("#result-title").inner_text()


class TestWithScripts:
    def test_from_address_to_picture(self, visit: Visit, site: Site) -> None:
        page = visit()
        ask(page, site.url("/static").removeprefix("http://"))
        page.wait_for_selector(READY)
        assert headline(page) == "A static page"
        assert picture_size(page) == [640, 480]
        assert re.search(r"/captures/[0-9a-f]{64}\?size=640$", page.url)
        expect(page).to_have_title("A static page · LinkPeek")
        expect(page.get_by_role("link", name=site.url("/static"))).to_have_attribute(
            "href", site.url("/static")
        )
        url = page.get_by_label("URL of the picture").input_value()
        answer = page.request.get(url)
        assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
        assert "immutable" in answer.headers["cache-control"]

    def test_the_snippet_shows_the_picture_on_another_page(self, visit: Visit, site: Site) -> None:
        page = visit()
        ask(page, site.url("/static"), picture="Small")
        page.wait_for_selector(READY)
        snippet = page.get_by_label("For your page").input_value()
        other = page.context.new_page()
        other.set_content(snippet)
        loaded = other.locator("img").evaluate(
            "async image => { await image.decode(); return image.naturalWidth }"
        )
        assert loaded == 336

    def test_window_and_picture_are_as_chosen(self, visit: Visit, site: Site) -> None:
        page = visit()
        ask(page, site.url("/longish"), window="Mobile", picture="Whole page")
        page.wait_for_selector(READY)
        width, height = picture_size(page)
        assert width == 375
        assert height > 2000
        region = page.get_by_role("region", name="The picture, scrollable")
        assert region.evaluate("frame => frame.scrollHeight > frame.clientHeight && frame.tabIndex === 0")

    def test_custom_numbers_are_asked_for_only_where_custom_is_chosen(self, visit: Visit, site: Site) -> None:
        page = visit()
        picture = page.get_by_role("group", name="Picture")
        expect(picture.get_by_label("Width")).to_be_hidden()
        choose(page, "Picture", "Custom")
        picture.get_by_label("Width").fill("300")
        picture.get_by_label("Height").fill("200")
        ask(page, site.url("/static"))
        page.wait_for_selector(READY)
        assert picture_size(page) == [300, 200]

    def test_progress_is_seen_and_heard_and_nothing_jumps(self, visit: Visit, site: Site) -> None:
        page = visit()
        page.evaluate("""() => {
            window.heard = [];
            new MutationObserver(() => heard.push(document.querySelector("#live").textContent))
                .observe(document.querySelector("#live"), { childList: true });
        }""")
        ask(page, site.url("/slow?s=4"))
        page.wait_for_selector("#result[data-state=capturing]")
        expect(page.locator("#result [aria-current=step]")).to_have_text("Opening the page")
        before = page.locator(".frame").bounding_box()
        expect(page.locator("[data-seconds]")).to_have_text(re.compile("[1-9]"))
        page.wait_for_selector(READY)
        assert page.locator(".frame").bounding_box() == before
        heard = [
            text
            for index, text in enumerate(page.evaluate("heard"))
            if text != page.evaluate("heard")[index - 1]
        ]
        assert heard[-1] == "The picture is ready."
        assert "Opening the page." in heard
        assert len(heard) < 6

    def test_the_age_is_told_and_goes_on(self, visit: Visit, site: Site) -> None:
        page = visit()
        ask(page, site.url("/static?age"))
        age = page.locator("figcaption time")
        expect(age).to_have_text(re.compile(r"^[2-9] seconds ago$"), timeout=CAPTURE)
        assert age.get_attribute("title").endswith("UTC")

    def test_copying(self, visit: Visit, site: Site, service: Service) -> None:
        page = visit(permissions=["clipboard-read", "clipboard-write"])
        ask(page, site.url("/static"))
        page.wait_for_selector(READY)
        for name, field in (("Copy the URL", "URL of the picture"), ("Copy the img tag", "For your page")):
            button = page.get_by_role("button", name=name)
            text = page.get_by_label(field).input_value()
            button.click()
            expect(button.or_(page.get_by_role("button", name="Copied")).first).to_have_text(
                re.compile("Copied")
            )
            assert page.evaluate("navigator.clipboard.readText()") == text
            expect(page.locator("#live")).to_have_text("Copied.")
            expect(button).to_have_text(re.compile("^Copy"))

    def test_copying_where_the_page_is_not_secure(self, visit: Visit, site: Site) -> None:
        page = visit()
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        page.evaluate("document.addEventListener('copy', () => { window.copied = String(getSelection()) || "
                      "document.activeElement.value })")  # fmt: skip
        ask(page, site.url("/static"))
        page.wait_for_selector(READY)
        page.get_by_role("button", name="Copy the URL").click()
        expect(page.locator("#live")).to_have_text("Copied.")
        assert page.evaluate("window.copied") == page.get_by_label("URL of the picture").input_value()

    def test_back_forward_and_reload(self, visit: Visit, site: Site) -> None:
        page = visit()
        ask(page, site.url("/static"))
        page.wait_for_selector(READY)
        page.go_back()
        page.wait_for_selector("#result[data-state=none]", state="attached")
        expect(page).to_have_title("LinkPeek: a picture of any web page")
        page.go_forward()
        page.wait_for_selector(READY)
        page.reload()
        page.wait_for_selector(READY)
        assert picture_size(page) == [640, 480]
        expect(page.get_by_label("Web address")).to_have_value(site.url("/static"))

    def test_a_reload_in_the_middle_goes_on(self, visit: Visit, site: Site) -> None:
        page = visit()
        ask(page, site.url("/slow?s=4&reload"))
        page.wait_for_selector("#result[data-state=capturing]")
        page.reload()
        page.wait_for_selector(READY)
        assert headline(page) == "Slow"

    def test_capture_again(self, visit: Visit, site: Site) -> None:
        page = visit()
        ask(page, site.url("/static?again"))
        page.wait_for_selector(READY)
        first, asked = page.url, site.hits["/static"]
        page.get_by_role("button", name="Capture again").click()
        arrive(page, "/captures/(?!" + first.rpartition("/")[2][:32] + ")")
        assert site.hits["/static"] == asked + 1

    def test_an_address_that_is_not_opened(self, visit: Visit) -> None:
        page = visit()
        ask(page, "ftp://example.com/")
        problem = page.get_by_role("alert")
        expect(problem).to_contain_text("Only http and https addresses are opened.")
        expect(problem).to_contain_text("http:// or https://")
        field = page.get_by_label("Web address")
        expect(field).to_be_focused()
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile("Only http"))
        assert page.url.endswith("/")

    def test_a_page_that_is_down(self, visit: Visit) -> None:
        page = visit()
        ask(page, f"127.0.0.1:{free_port()}")
        page.wait_for_selector("#result[data-state=failed]")
        expect(page.locator("#result .notice")).to_contain_text("did not accept the connection")
        expect(page.locator("#live")).to_have_text("The picture could not be taken.")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()

    def test_an_error_page_is_a_picture_with_a_note(self, visit: Visit, site: Site) -> None:
        page = visit()
        ask(page, site.url("/status?code=404"))
        page.wait_for_selector(READY)
        expect(page.locator("#result .notice")).to_contain_text("404 (Not Found)")

    def test_a_connection_that_breaks_and_comes_back(self, visit: Visit, site: Site) -> None:
        page = visit()
        ask(page, site.url("/slow?s=4&offline"))
        page.wait_for_selector("#result[data-state=capturing]")
        page.context.set_offline(True)
        expect(page.locator("#live")).to_contain_text("trying again")
        page.context.set_offline(False)
        page.wait_for_selector(READY)
        # The browser noted the requests that failed, as it should.
        page.context.clear_cookies()
        visit.complaints[:] = [line for line in visit.complaints if "ERR_INTERNET_DISCONNECTED" not in line]

    def test_a_connection_that_breaks_at_the_very_end(self, visit: Visit, site: Site) -> None:
        page, broken = visit(), list[str]()

        def break_twice(route: Route) -> None:
            is_result = (
                route.request.headers["accept"] == "text/html" and route.request.resource_type == "fetch"
            )
            if is_result and len(broken) < 2:
                broken.append(route.request.url)
                route.abort()
            else:
                route.continue_()

        ask(page, site.url("/slow?s=3&end"))
        page.wait_for_selector("#result[data-state=capturing]")
        page.route("**/captures/*", break_twice)
        page.wait_for_selector(READY)
        assert len(broken) == 2
        visit.complaints[:] = [line for line in visit.complaints if "ERR_FAILED" not in line]

    @pytest.mark.parametrize(("status", "words"), [(503, "starting again"), (429, "Too many requests")])
    def test_what_nginx_answers_by_itself_is_told(
        self, visit: Visit, site: Site, status: int, words: str
    ) -> None:
        page = visit()
        page.route("**/captures", lambda route: route.fulfill(status=status, body="<html></html>"))
        ask(page, site.url("/static"))
        expect(page.get_by_role("alert")).to_contain_text(words)
        visit.complaints[:] = [line for line in visit.complaints if str(status) not in line]

    def test_a_form_that_was_open_for_too_long(self, visit: Visit, site: Site) -> None:
        page = visit()
        page.context.clear_cookies()
        ask(page, site.url("/static"))
        expect(page.get_by_role("alert")).to_contain_text("Reload the page")

    def test_two_presses_ask_once(self, visit: Visit, site: Site) -> None:
        page = visit()
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method) if request.method == "POST" else None)
        page.get_by_label("Web address").fill(site.url("/static?twice"))
        page.get_by_role("button", name="Capture", exact=True).dblclick()
        page.wait_for_selector(READY)
        assert sent == ["POST"]


class TestWithoutScripts:
    def test_from_address_to_picture(self, visit: Visit, site: Site) -> None:
        page = visit(java_script_enabled=False)
        ask(page, site.url("/static?plain"), picture="Small")
        page.wait_for_selector(READY)
        assert page.url.endswith("#result")
        assert page.locator("#result img").get_attribute("width") == "336"
        expect(page.get_by_role("button", name=re.compile("^Copy"))).to_have_count(0)
        assert page.get_by_label("URL of the picture").input_value().startswith("http")

    def test_a_mistake_is_explained(self, visit: Visit) -> None:
        page = visit(java_script_enabled=False)
        ask(page, "not an address")
        expect(page.get_by_role("alert")).to_contain_text("example.com")
        expect(page.get_by_label("Web address")).to_have_value("not an address")

    def test_a_page_that_takes_longer_than_the_answer(
        self, browser: Browser, site: Site, tmp_path: Path
    ) -> None:
        with running_service(tmp_path, wait=1) as service:
            visit = Visit(browser, service)
            page = visit(java_script_enabled=False)
            ask(page, site.url("/slow?s=4"))
            page.wait_for_selector("#result[data-state=capturing]")
            page.wait_for_selector(READY)
            assert headline(page) == "Slow"
            visit.end()


class TestByKeyboard:
    def test_the_whole_way(self, visit: Visit, site: Site) -> None:
        page = visit()
        expect(page.get_by_label("Web address")).to_be_focused()
        page.keyboard.type(site.url("/static?keys"))
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Capture", exact=True)).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("radio", name="Tablet")).to_be_checked()
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowLeft")
        expect(page.get_by_role("radio", name="Small")).to_be_checked()
        page.keyboard.press("Enter")
        page.wait_for_selector(READY)
        expect(page.locator("#result-title")).to_be_focused()
        assert picture_size(page) == [336, 448]
        names = []
        for _ in range(6):
            page.keyboard.press("Tab")
            names.append(
                page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
            )
        assert names == [
            site.url("/static?keys"),
            "picture-url",
            "Copy the URL",
            "picture-tag",
            "Copy the img tag",
            "Capture again",
        ]

    def test_the_first_stop_skips_to_the_content(self, visit: Visit) -> None:
        page = visit("/docs")
        page.keyboard.press("Tab")
        link = page.get_by_role("link", name="Skip to the content")
        expect(link).to_be_focused()
        expect(link).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()

    def test_who_went_on_reading_is_not_pulled_away(self, visit: Visit, site: Site) -> None:
        page = visit()
        ask(page, site.url("/slow?s=4&reading"))
        page.wait_for_selector("#result[data-state=capturing]")
        page.get_by_role("link", name="API", exact=True).focus()
        page.wait_for_selector(READY)
        expect(page.get_by_role("link", name="API", exact=True)).to_be_focused()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_the_focus_is_seen_everywhere(self, visit: Visit, site: Site, scheme: str) -> None:
        page = visit(color_scheme=scheme)
        ask(page, site.url("/static"))
        page.wait_for_selector(READY)
        page.reload()
        stops = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            stop, seen = page.evaluate("""() => {
                const at = document.activeElement, drawn = at.type === "radio" ? at.nextElementSibling : at;
                const style = getComputedStyle(drawn);
                return [at.outerHTML, style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2];
            }""")
            if stop in stops or stop.startswith("<body"):
                break
            stops.add(stop)
            assert seen or 'class="skip"' in stop, stop
        assert len(stops) == 15


class TestNarrow:
    def test_nothing_is_wider_than_the_window(self, visit: Visit, site: Site) -> None:
        page = visit(viewport=NARROW)
        fits(page)
        ask(page, site.url("/slow?s=4&" + "wide" * 60))
        page.wait_for_selector("#result[data-state=capturing]")
        fits(page)
        page.wait_for_selector(READY)
        fits(page)
        # The result is below the form here, so it is brought into sight.
        expect(page.locator("#result-title")).to_be_in_viewport()
        for path in ("/docs", "/nothing-here"):
            page.goto(path)
            fits(page)

    def test_custom_numbers(self, visit: Visit) -> None:
        page = visit(viewport=NARROW)
        for group in ("Window", "Picture"):
            choose(page, group, "Custom")
        fits(page)


def fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


class TestForEveryone:
    @pytest.mark.parametrize(
        "kind", [{}, {"color_scheme": "dark"}, {"viewport": NARROW}], ids=["light", "dark", "narrow"]
    )
    def test_axe_finds_nothing(self, visit: Visit, site: Site, kind: dict[str, object]) -> None:
        page = visit(**kind)
        assert axe(page) == []
        ask(page, "ftp://example.com/")
        page.wait_for_selector("#problem:not([hidden])")
        assert axe(page) == []
        ask(page, site.url("/slow?s=6&" + str(kind)))
        page.wait_for_selector("#result[data-state=capturing]")
        assert axe(page) == []
        page.wait_for_selector(READY)
        assert axe(page) == []
        ask(page, site.url("/longish"), picture="Whole page", window="Custom")
        arrive(page, "size=original$")
        assert axe(page) == []
        ask(page, site.url("/attachment?" + str(kind)))
        page.wait_for_selector("#result[data-state=failed]")
        assert axe(page) == []
        for path in ("/docs", "/nothing-here"):
            page.goto(path)
            assert axe(page) == []

    def test_who_wants_no_motion_gets_none(self, visit: Visit, site: Site) -> None:
        page = visit(reduced_motion="reduce")
        ask(page, site.url("/slow?s=4&still"))
        page.wait_for_selector("#result[data-state=capturing]")
        assert page.evaluate("document.getAnimations().length") == 0
        page.wait_for_selector(READY)

    def test_it_is_small(self, visit: Visit) -> None:
        page = visit("about:blank")
        sizes: dict[str, int] = {}
        page.on("response", lambda response: sizes.update({response.url: len(response.body())}))
        page.goto("/", wait_until="networkidle")
        assert len(sizes) <= 5
        assert sum(sizes.values()) < 50_000


def axe(page: Page) -> list[str]:
    """Give what axe-core objects to, each with where it is."""
    page.evaluate(AXE_FILE_PATH.read_text("utf-8"))
    found = page.evaluate("tags => axe.run({ runOnly: tags })", AXE_TAGS)
    return [
        f"{rule['id']}: {node['html']} {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
