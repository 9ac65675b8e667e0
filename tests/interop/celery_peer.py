"""A Celery worker for the interop tests.

    celery_peer.py URL QUEUE [BACKEND]

Executes the tasks of that queue. Results go to the backend; without one to the queue named by reply_to. Each line of
its input is an object, and is answered with {}: {"send": [FIRST, COUNT, REPLY_TO]} sends tasks.add for these numbers.
"""
import json
import sys

from celery import Celery
from celery.contrib.testing.worker import start_worker

url, queue = sys.argv[1:3]
app = Celery("peer", broker=url, backend=sys.argv[3] if len(sys.argv) > 3 else "rpc://")
app.conf.update(task_default_queue=queue, task_default_exchange=queue, task_default_routing_key=queue,
                worker_hijack_root_logger=False, result_persistent=False, broker_connection_retry_on_startup=True,
                worker_enable_remote_control=False, worker_send_task_events=False)


@app.task(name="tasks.add")
def add(x, y=0, text=""):
    return [x + y, text]


@app.task(name="tasks.fails")
def fails():
    raise ValueError("as asked")


@app.task(name="tasks.failed")
def failed(task_id):
    return "failed: " + task_id


@app.task(name="tasks.progress", bind=True)
def progress(self):
    self.update_state(state="HALFWAY", meta={"done": 1})
    return "done"


@app.task(name="tasks.request", bind=True)
def request(self):
    r = self.request
    return {name: getattr(r, name, None) for name in
            ("id", "root_id", "parent_id", "group", "eta", "expires", "timelimit", "reply_to", "correlation_id",
             "retries", "lang", "shadow", "origin", "argsrepr", "kwargsrepr", "ignore_result")} | {"headers": r.headers}


with start_worker(app, perform_ping_check=False, pool="solo", concurrency=1, loglevel="CRITICAL"):
    print("{}", flush=True)
    for line in sys.stdin:
        if "send" in (command := json.loads(line)):
            first, count, reply_to = command["send"]
            for number in range(first, first + count):
                app.send_task("tasks.add", [number], queue=queue, reply_to=reply_to)
        print("{}", flush=True)
