"""A worker that takes tasks of a queue, does what little there is to do, and writes down what it did before it says so. It may be killed at any moment.

usage: queue_worker.py PORT QUEUE FILE       with the API key in the environment, KEY

To FILE it appends a line "start TASK ATTEMPT" for each task that it is given, and "done TASK ATTEMPT" for each whose success was acknowledged.
"""
import http.client
import json
import os
import random
import sys
import time

PORT, QUEUE, FILE = int(sys.argv[1]), sys.argv[2], sys.argv[3]
HEADERS = {"Authorization": "Bearer " + os.environ["KEY"]}
BATCH = 8
WORK_S = 0.05
PARENT = os.getppid()

log = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
connection = None


def ask(path, body, headers):
    """The status and the text of the answer; (0, "") if there was none."""
    global connection
    if os.getppid() != PARENT:  # whoever hired it is gone
        sys.exit()
    try:
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        connection.request("POST", path, body, {**HEADERS, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):
        if connection:
            connection.close()
        connection = None
        time.sleep(0.02)
        return 0, ""


def write(lines):
    os.write(log, "".join(line + "\n" for line in lines).encode())


def work(tasks):
    names = ["%s %d" % (t["id"], t["attempt"]) for t in tasks]
    write(["start " + name for name in names])
    time.sleep(random.uniform(0, 2 * WORK_S))
    reports = []
    for t in tasks:
        to = {"task": t["id"], "token": t["worker_token"]}
        reports.append({**to, "type": "progress", "current": 1})
        reports.append({**to, "type": "succeed", "result": {"input": t["input"], "attempt": t["attempt"], "worker": os.getpid()}})
    body = "".join(json.dumps(r) + "\n" for r in reports)
    status = 0
    while status != 200:  # said again until it is answered: a final report that is there already gets the same answer
        status, text = ask("/v1/reports", body, {"Content-Type": "application/x-ndjson"})
    answers = [json.loads(line) for line in text.splitlines()]
    write(["done " + name for name, a in zip(names, answers[1::2]) if a.get("state") == "succeeded"])


while True:
    status, text = ask("/v1/queues/%s/claim" % QUEUE, json.dumps({"max": BATCH}), {"Content-Type": "application/json", "Prefer": "wait=5"})
    if status == 200:
        work(json.loads(text)["tasks"])
