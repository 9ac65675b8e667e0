#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What Prometheus makes of the metrics, the dashboard, the alerts and docs/metrics.md: prometheus_test.py PROBE

A Prometheus of the test's own scrapes a service, whose Redis server is killed and comes back.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, os.path.dirname(__file__))
from service import Probe, Redis, eventually, free_port

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
ALERTS = ROOT + "/addons/metrics/alerts.yml"
PROBE = sys.argv[1]


class Prometheus:
    def __init__(self, target):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._port = free_port()
        with open(ALERTS) as rules, open(self._folder.name + "/alerts.yml", "w") as copy:
            copy.write(re.sub(r"for: \w+", "for: 0s", rules.read()))  # the test does not wait for minutes
        with open(self._folder.name + "/prometheus.yml", "w") as config:
            config.write(f"""
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}
rule_files: [alerts.yml]
scrape_configs: [{{job_name: service, static_configs: [{{targets: ["{target}"]}}]}}]
""")
        self._process = subprocess.Popen(
            ["prometheus", f"--config.file={self._folder.name}/prometheus.yml",
             f"--storage.tsdb.path={self._folder.name}/data", f"--web.listen-address=127.0.0.1:{self._port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._is_ready, bool, "Prometheus starts")

    def _is_ready(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=5).status == 200
        except OSError:
            return False

    def close(self):
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {json.load(error)['error']}") from error

    def query(self, expression):
        return self.get("query", query=expression)["result"]

    def firing(self):
        return {alert["labels"]["alertname"] for alert in self.get("alerts")["alerts"] if alert["state"] == "firing"}


def exported_names(text):
    return set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.redis = Redis()
        cls.port = free_port()
        cls.probe = Probe(PROBE, cls.redis.url, cls.port)
        for command in "acquire", "publish 5", "release":
            cls.probe(command)
        cls.prometheus = Prometheus(f"127.0.0.1:{cls.port}")
        eventually(lambda: cls.prometheus.query("kombu_messages_published_total"), bool, "Prometheus has scraped")
        # Rates need two scrapes.
        eventually(lambda: cls.prometheus.query("count_over_time(up[1m]) > 3"), bool, "Prometheus has scraped again")

    @classmethod
    def tearDownClass(cls):
        cls.prometheus.close()
        cls.probe.kill()
        cls.redis.kill()

    def text(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def test_follow_the_conventions(self):
        checked = subprocess.run(["promtool", "check", "metrics"], input=self.text(), capture_output=True, text=True)
        self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))

    def test_have_the_values_of_the_service(self):
        value = lambda name: float(self.prometheus.query(name)[0]["value"][1])
        self.assertEqual(value('kombu_pool_limit{kind="connection"}'), 3)
        published = json.loads(self.probe("stats"))["brokers"][0]["published"]
        self.assertGreaterEqual(published, 5)
        eventually(lambda: value("kombu_messages_published_total"), lambda count: count == published, "it is scraped")
        self.assertEqual(value("kombu_messages_published_bytes_total"), 4 * published)

    def test_are_all_in_the_documentation_with_an_example_that_works(self):
        with open(ROOT + "/docs/metrics.md") as file:
            rows = re.findall(r"^\| `(kombu_\w+)` \| [^|]+ \| `(.+)` \|$", file.read(), re.MULTILINE)
        self.assertEqual({name for name, _ in rows}, exported_names(self.text()))
        for name, example in rows:
            with self.subTest(name):
                self.assertIn(name, example)
                self.prometheus.query(example)

    def test_fill_the_dashboard(self):
        with open(ROOT + "/addons/metrics/dashboard.json") as file:
            dashboard = json.load(file)
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        self.assertGreater(len(queries), 10)
        for query in queries:
            with self.subTest(query):
                self.assertTrue(self.prometheus.query(query.replace("$__rate_interval", "1m").replace("$broker", ".*")))

    def test_fire_the_alerts(self):
        subprocess.run(["promtool", "check", "rules", ALERTS], check=True, stdout=subprocess.DEVNULL)
        self.assertEqual(self.prometheus.firing(), set())
        for command in "acquire", "acquire", "acquire", "wait":
            self.probe(command)
        # The threshold of a leak is a second.
        eventually(self.prometheus.firing, lambda names: "KombuLeak" in names, "a leak is reported")
        self.assertRegex(self.probe("hurry"), r"no connection within \d+ ms")
        eventually(self.prometheus.firing, lambda names: "KombuCallersGiveUp" in names, "callers give up")
        eventually(self.prometheus.firing, lambda names: "KombuNobodyGetsAConnection" in names,
                   "nobody gets a connection", seconds=100)
        self.redis.kill()
        for _ in range(3):
            self.probe("release")
        self.probe("publish 1")
        eventually(self.prometheus.firing, lambda names: "KombuBrokerLost" in names, "the broker is lost")
        self.redis.start()
        eventually(lambda: self.probe("publish 1"), lambda answer: answer == "done", "the broker is back")
        eventually(self.prometheus.firing, lambda names: not names & {"KombuBrokerLost", "KombuLeak"}, "it is over")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
