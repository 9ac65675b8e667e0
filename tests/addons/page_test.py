#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The status page in Chromium: page_test.py PROBE [COMMAND [SCREENSHOT]]

The probe is a service on a Redis server of the test's own, which is killed and comes back.
"""
import base64
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

import websocket

sys.path.insert(0, os.path.dirname(__file__))
from service import Probe, Redis, eventually, free_port

PROBE = sys.argv[1]
COMMAND = sys.argv[2] if len(sys.argv) > 2 else None
SCREENSHOT = sys.argv[3] if len(sys.argv) > 3 else None


class Browser:
    """Chromium without a window, by its debugging protocol."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--remote-debugging-port=0", "--remote-allow-origins=*", "--window-size=1100,760",
             "--user-data-dir=" + self._folder.name, "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = self._folder.name + "/DevToolsActivePort"
        eventually(lambda: os.path.exists(port_file) and open(port_file).read().split(), bool, "Chromium starts")
        port = open(port_file).read().split()[0]
        pages = eventually(lambda: [page for page in json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
                                    if page["type"] == "page"], bool, "Chromium has a page")
        self._socket = websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=30)
        self._ids = itertools.count(1)

    def close(self):
        self._socket.close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def call(self, method, **parameters):
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv())).get("id") != number:
            pass
        return answer["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"]
        return result.get("value")

    def text(self, selector):
        return self.run(f"[...document.querySelectorAll({selector!r})].map(each => each.textContent).join('|')")


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.redis = Redis()
        cls.browser = Browser()

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.redis.kill()

    def setUp(self):
        self.port = free_port()
        self.probe = Probe(PROBE, self.redis.url, self.port)
        self.addCleanup(lambda: self.probe.kill())

    def pool(self, column):
        return self.browser.text(f"#pools tbody tr:first-child > :nth-child({column})")

    def broker(self, column):
        return self.browser.text(f"#brokers tbody tr > :nth-child({column})")

    def await_text(self, get, wanted):
        return eventually(get, lambda text: wanted in (text or ""), f"{wanted!r} is shown")

    def test_shows_what_stats_says_and_updates(self):
        self.probe("acquire")
        self.browser.open(self.probe.url)
        self.await_text(lambda: self.pool(2), "1 of 3, 0 idle")
        self.assertEqual(self.browser.text("#title"), "orders <&> mail")
        self.assertIn(self.redis.url, self.pool(1))
        self.probe("acquire")
        self.probe("publish 7")
        self.await_text(lambda: self.pool(2), "2 of 3, 1 idle")
        self.await_text(lambda: self.broker(4), "7 in all, 7 confirmed")
        stats = json.loads(self.probe("stats"))
        pool = next(each for each in stats["pools"] if each["kind"] == "connection")
        self.await_text(lambda: self.pool(5), f"{pool['acquired']} in all")
        self.assertIn(f"status_probe.cpp:{pool['oldest_lease']['line']}", self.pool(7))
        self.assertEqual(self.broker(3), str(stats["brokers"][0]["connections"]))
        self.assertEqual(self.broker(2), "up")
        bar = self.browser.run("document.querySelector('#pools .bar .use').style.width")
        self.assertAlmostEqual(float(bar.rstrip("%")), 200 / 3, places=1)

    def test_alarms_when_callers_wait_and_when_the_broker_is_down(self):
        self.browser.open(self.probe.url)
        for _ in range(3):
            self.probe("acquire")
        self.probe("wait")
        self.await_text(lambda: self.browser.text("#alarm"), "Callers wait in orders.")
        self.await_text(lambda: self.pool(4), "1")
        for _ in range(3):
            self.probe("release")
        self.redis.kill()
        try:
            self.probe("publish 1")
            self.await_text(lambda: self.broker(2), "down")
            self.await_text(lambda: self.browser.text("#alarm"), "is down: ")
        finally:
            self.redis.start()
        eventually(lambda: self.probe("publish 1"), lambda answer: answer == "done", "the broker is back")
        self.await_text(lambda: self.broker(2), "up")
        eventually(lambda: self.browser.text("#alarm"), lambda text: text == "", "no alarm remains")
        self.assertNotEqual(self.broker(7), "0, 0")

    @unittest.skipUnless(SCREENSHOT, "no screenshot is wanted")
    def test_makes_the_screenshot_of_the_documentation(self):
        self.browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
        self.browser.open(self.probe.url)
        self.await_text(lambda: self.browser.text("#title"), "orders")
        for round in range(80):
            for command in ["acquire"] * (1 + round % 3), [f"publish {20 + 7 * (round % 5)}"] * (round % 3 < 2):
                for each in command:
                    self.probe(each)
            time.sleep(1)
            for _ in range(1 + round % 3):
                self.probe("release")
        for command in ["acquire", "acquire", "publish 40", "acquire", "wait"]:
            self.probe(command)
        self.await_text(lambda: self.browser.text("#alarm"), "wait")
        image = self.browser.call("Page.captureScreenshot", format="png", clip={
            "x": 0, "y": 0, "width": 1100, "height": self.browser.run("document.documentElement.scrollHeight"),
            "scale": 1})["data"]
        with open(SCREENSHOT, "wb") as file:
            file.write(base64.b64decode(image))

    @unittest.skipUnless(COMMAND, "there is no command")
    def test_says_the_same_as_the_command(self):
        run = lambda *words: subprocess.run([COMMAND, "pools", *words], capture_output=True, text=True, timeout=60)
        self.probe("acquire")
        self.probe("publish 3")
        for address in self.probe.url, f"127.0.0.1:{self.port}":
            printed = run(address)
            self.assertEqual((printed.returncode, printed.stderr), (0, ""))
            self.assertRegex(printed.stdout, r"orders@\S+ +1/3 +1 +0 .* status_probe.cpp:\d+")
            self.assertRegex(printed.stdout, rf"{self.redis.url} +2 +3 +0 +0  up")
        stats = json.loads(self.probe("stats"))
        printed = json.loads(run(f"127.0.0.1:{self.port}", "--json").stdout)
        self.assertEqual(printed["brokers"], stats["brokers"])
        nobody = run(f"127.0.0.1:{free_port()}")
        self.assertEqual((nobody.returncode, len(nobody.stderr.splitlines())), (3, 1))
        self.assertEqual(run(f"127.0.0.1:{self.redis.port}").returncode, 3)
        self.assertEqual(run("https://127.0.0.1").returncode, 2)

    def test_survives_a_restart_of_the_service(self):
        self.browser.open(self.probe.url)
        self.probe("acquire")
        self.await_text(lambda: self.pool(2), "1 of 3")
        self.probe.kill()
        self.await_text(lambda: self.browser.text("#alarm"), "does not answer since")
        self.probe = Probe(PROBE, self.redis.url, self.port)
        self.probe("acquire")
        self.probe("acquire")
        self.await_text(lambda: self.pool(2), "2 of 3")
        eventually(lambda: self.browser.text("#alarm"), lambda text: text == "", "no alarm remains")

    def test_can_be_read_without_seeing_it(self):
        self.probe("acquire")
        self.browser.open(self.probe.url)
        self.await_text(lambda: self.pool(2), "1 of 3")
        tree = self.browser.call("Accessibility.getFullAXTree")["nodes"]
        shown = [(node.get("role", {}).get("value"), node.get("name", {}).get("value")) for node in tree]
        for wanted in [("heading", "Pools"), ("columnheader", "In use"), ("image", "1 of 3, 0 idle"),
                       ("region", "Pools"), ("alert", "")]:
            self.assertIn(wanted, shown)
        rows = [name for role, name in shown if role == "rowheader"]
        self.assertTrue(any(name.startswith("orders") for name in rows), rows)
        # The keyboard reaches both tables, and an update does not take the focus away.
        self.browser.run("document.querySelector('[aria-labelledby=pools-title]').focus()")
        self.probe("acquire")
        self.await_text(lambda: self.pool(2), "2 of 3")
        self.assertEqual(self.browser.run("document.activeElement.getAttribute('aria-labelledby')"), "pools-title")

    def test_has_enough_contrast_in_light_and_dark(self):
        self.probe("acquire")
        self.browser.open(self.probe.url)
        self.await_text(lambda: self.pool(2), "1 of 3")
        script = """(() => {
            const parts = color => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
            const light = color => parts(color).map(v => v / 255)
                .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
            const back = light(getComputedStyle(document.body).backgroundColor);
            return Math.min(...[...document.querySelectorAll('h1, p, th, td, small, a')].map(each => {
                const text = light(getComputedStyle(each).color);
                return (Math.max(text, back) + .05) / (Math.min(text, back) + .05);
            }));
        })()"""
        for scheme in "light", "dark":
            self.browser.call("Emulation.setEmulatedMedia",
                              features=[{"name": "prefers-color-scheme", "value": scheme}])
            self.assertGreater(self.browser.run(script), 4.5, scheme)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
