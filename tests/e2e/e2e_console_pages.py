"""Every page of the console in a real browser: what axe-core says in both languages, light, dark and on a narrow screen;
where pages lead; that nothing is asked of other hosts; and how long the list of many services takes.

With HOMERUN_CONSOLE_SCREENSHOTS=DIR each page's picture is left in DIR.
"""

import json
import os
import re
import statistics
import unittest
from pathlib import Path

import browser
import png
import stack
from browser import NARROW, WIDE
from stack import curl, eventually

HOME: stack.Stack
BROWSER: browser.Browser
PICTURES = os.environ.get("HOMERUN_CONSOLE_SCREENSHOTS")
TAKEN = set()
LANGUAGES = ["en", "ja"]


def setUpModule():
    global HOME, BROWSER
    if not browser.DRIVER:
        raise unittest.SkipTest("chromium and chromium-driver are not installed")
    HOME = stack.Stack("--idle-timeout", 600)
    BROWSER = browser.Browser(HOME.control)
    url = HOME.deploy("hello", "--gpu", "1", "--set-env-vars", "GREETING=hello", "--max-instances", "2")
    HOME.deploy("hello", "--set-env-vars", "GREETING=good morning")
    HOME.deploy("plain")
    failed = HOME.homerun("run", "deploy", "broken", "--image", f"{HOME.registry.address}/none:v1")
    assert failed.returncode != 0, failed.stdout
    assert curl(url)[0] == 200


def tearDownModule():
    if browser.DRIVER:
        BROWSER.close()
        HOME.close()


def sign_in():
    BROWSER.open("/console")
    if BROWSER.path.startswith("/console/-/sign-in"):
        BROWSER.fill("Access token", token())
        BROWSER.click("Sign in")
    eventually("the services are shown", lambda: BROWSER.path == "/console/demo/services")


def token():
    return (HOME.data / "token").read_text().strip()


def speak(language):
    """Switches the console's language; the browser is at the list of services then."""
    BROWSER.open(f"/console/-/language?to={language}&next=/console/demo/services")


def kind(path):
    """What is the same for pages of the same kind: of all services and revisions one page each is looked at."""
    page, _, query = path.partition("?")
    words = sorted(part if part.startswith(("panel=", "range=", "view=")) else part.split("=")[0] for part in query.split("&"))
    service = re.sub(r"(/services/[^/]+)/[^/]+", r"\1/SERVICE", page)
    return service, tuple(words) if "/services/" in page else ()


def links():
    """Paths of the console that the page leads to."""
    found = BROWSER.script(
        "return [...document.querySelectorAll('a[href]')].filter((a) => a.origin === location.origin)"
        ".map((a) => a.pathname + a.search)"
    )
    return [path for path in found if path.startswith("/console/") and not path.startswith("/console/-/")]


def every_page():
    """A path of each kind of page that links lead to, from the list of services on."""
    ahead, seen = ["/console/demo/services"], {}
    while ahead:
        path = ahead.pop(0)
        if kind(path) in seen:
            continue
        BROWSER.open(path)
        seen[kind(path)] = BROWSER.path
        # The service that has most to show comes first.
        ahead += sorted(links(), key=lambda path: "/us-central1/hello" not in path)
    return list(seen.values())


def name(path):
    """A page's name among pictures: services, services-new, service-revisions, service-revisions-volumes, quotas, ..."""
    page, _, query = path.partition("?")
    below = page.split("/")[3:]
    if below[0] == "services" and len(below) > 3:
        # A revision's name differs each time.
        below = ["service", *(part for part in below[3:] if "-" not in part)]
    panel = re.search(r"panel=(?!containers)(\w+)", query)
    return "-".join([*(part for part in below if part != "-"), *([panel[1]] if panel else [])])


def picture(page, language):
    """Keeps the picture of the first page of this name."""
    if PICTURES and (page, language) not in TAKEN:
        TAKEN.add((page, language))
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        (Path(PICTURES) / f"{page}.{language}.png").write_bytes(png.reduce(BROWSER.picture()))


# The outermost element that reaches beyond the screen, as HTML.
WIDEST = """
const wide = [...document.querySelectorAll("main *")].find((e) => !e.closest(".scroll, .tabs") && e.getBoundingClientRect().right > window.innerWidth);
return wide && wide.outerHTML.slice(0, 160);
"""


def faults(where):
    """What is wrong with the page that is shown: axe-core's findings in each form, and what does not fit."""
    found = []
    for form, size, dark in [("light", WIDE, False), ("dark", WIDE, True), ("narrow", NARROW, False)]:
        BROWSER.size(size)
        BROWSER.dark(dark)
        found += [f"{where} ({form}): {violation}" for violation in BROWSER.violations()]
        over = BROWSER.script("return document.documentElement.scrollWidth - window.innerWidth")
        if over > 0:
            found.append(f"{where} ({form}): {over} px wider than the screen, such as {BROWSER.script(WIDEST)}")
    BROWSER.size(WIDE)
    BROWSER.dark(False)
    return found + [f"{where}: {complaint}" for complaint in BROWSER.complaints()]


class Pages(unittest.TestCase):
    maxDiff = None

    def test_g24_every_page_is_fit_for_everybody(self):
        """No violation of axe-core's rules, nothing wider than the screen, no complaint of the browser's."""
        sign_in()
        # The page of a revision that cannot be deleted says why, and its status says so too.
        BROWSER.expected = ["409 (Conflict)"]
        pages, found = every_page(), []
        found += BROWSER.complaints()
        for language in LANGUAGES:
            speak(language)
            for path in pages:
                BROWSER.open(path)
                if BROWSER.script("return document.documentElement.lang") != language:
                    found.append(f"{path}: not in {language}")
                picture(name(path), language)
                found += faults(f"{path} in {language}")
        BROWSER.expected = []
        self.assertEqual(found, [])
        print(f"        {len(pages)} pages: {', '.join(name(path) for path in pages)}")

    @unittest.skipUnless(PICTURES, "HOMERUN_CONSOLE_SCREENSHOTS is not set")
    def test_g24_pictures_of_a_narrow_and_of_a_dark_page(self):
        sign_in()
        for language in LANGUAGES:
            speak(language)
            BROWSER.dark(True)
            picture("services-dark", language)
            BROWSER.dark(False)
            BROWSER.size(NARROW)
            BROWSER.open("/console/demo/services/us-central1/hello/revisions")
            picture("service-narrow", language)
            BROWSER.size(WIDE)

    def test_g24_signing_in_and_errors_are_fit_for_everybody(self):
        sign_in()
        found = []
        BROWSER.expected = ["403 (Forbidden)", "404 (Not Found)"]
        for language, field, button, sign_out in [
            ("en", "Access token", "Sign in", "Sign out"), ("ja", "アクセス トークン", "ログイン", "ログアウト"),
        ]:
            speak(language)
            BROWSER.open("/console/demo/services/us-central1/none/revisions")
            picture("error", language)
            found += faults(f"error in {language}")
            BROWSER.open("/console")
            BROWSER.click(sign_out)
            BROWSER.sees("input", field)
            picture("sign-in", language)
            found += faults(f"sign-in in {language}")
            BROWSER.fill(field, "wrong")
            BROWSER.click(button)
            BROWSER.sees("[role=alert]", "", exact=False)
            picture("sign-in-wrong", language)
            found += faults(f"sign-in with a wrong token in {language}")
            BROWSER.fill(field, token())
            BROWSER.click(button)
            BROWSER.sees("button", sign_out)
        BROWSER.expected = []
        speak("en")
        self.assertEqual(found, [])


class Speed(unittest.TestCase):
    def test_g24_the_list_of_services_is_painted_soon(self):
        """A full page of services, with room for a busy machine and a build without optimisation; bench/console holds
        1,000 services against the real targets."""
        home = stack.Stack("--backend", "sim", gpus="none", images=())
        self.addCleanup(home.close)
        service = {
            "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "", "namespace": "demo"},
            "spec": {"template": {"spec": {"containers": [{"image": "sim/hello"}]}}},
        }
        token = (home.data / "token").read_text().strip()
        for number in range(110):
            service["metadata"]["name"] = f"service-{number:03}"
            status, body = curl(
                f"http://{home.control}/apis/serving.knative.dev/v1/namespaces/demo/services",
                "-H", f"Authorization: Bearer {token}", "--json", json.dumps(service),
            )
            self.assertEqual(status, 200, body)
        eventually("all are ready", lambda: all(s["state"] == "ready" for s in home.status()["services"]), 120)
        other = browser.Browser(home.control)
        self.addCleanup(other.close)
        other.open("/console")
        other.fill("Access token", token)
        other.click("Sign in")
        other.reads("110 of 110 services")
        paints, pages, events = zip(*[other.load_cold("/console/demo/services") for _ in range(5)])
        self.assertLess(statistics.median(paints), 1500, f"first contentful paint, ms: {paints}")
        self.assertLess(max(pages) + max(events), 100 * 1024, f"bytes: {pages} and {events}")
        self.assertEqual(other.complaints(), [])
