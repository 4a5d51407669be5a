"""The client against the real program: python3 -m unittest -v test_bowline, here, with BOWLINE_BIN naming the program (else build/bowline)."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import bowline
from bowline import Client, Worker

HERE = pathlib.Path(__file__).resolve().parent
BINARY = os.environ.get("BOWLINE_BIN") or str(HERE.parent.parent / "build" / "bowline")


class Server:
    def __init__(self, **options):
        self.folder = tempfile.mkdtemp(prefix="bowline-python-")
        self.options = {"drain-time": "0.1", "session-kinds": '{"note": {"queue": "notes"}}', **options}
        self.port = 0
        self.start()

    def start(self):
        self.log = tempfile.TemporaryFile("w+")
        flags = [f"--{name}={value}" for name, value in self.options.items()]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BOWLINE_")}
        self.process = subprocess.Popen([BINARY, "serve", "--data", self.folder, f"--listen=127.0.0.1:{self.port}", *flags],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment)
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if not found:
            self.log.seek(0)
            raise AssertionError(f"the server did not start: {line}{self.log.read()}")
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = pathlib.Path(self.folder, "api.key").read_text().strip()

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process.stdout.close()
        self.log.close()
        return code

    def close(self):
        code = self.end()
        shutil.rmtree(self.folder)
        if code:
            raise AssertionError(f"the server ended with {code}")


def until(test, what="condition", seconds=20):
    end = time.monotonic() + seconds
    while True:
        value = test()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"gave up waiting for {what}")
        time.sleep(0.02)


def setUpModule():
    global server
    server = Server()


def tearDownModule():
    server.close()


class Case(unittest.TestCase):
    def setUp(self):
        self.client = Client(server.url, server.key)
        self.addCleanup(self.client.close)

    def queue(self):
        return "q-" + self.id().rpartition(".")[2].replace("_", "-")[:50]

    def task(self, **members):
        members.setdefault("queue", self.queue())
        session = self.client.sessions.create()
        return self.client.tasks.create(session["id"], members.pop("kind", "work"), **members)

    def worker(self, **options):
        worker = Worker(self.client, **options)
        self.addCleanup(worker.stop, 0)
        return worker


class Sessions(Case):
    def test_a_key_names_one_session(self):
        one = self.client.sessions.create(key="k-1", user="ann", metadata={"a": [1, "ü"]})
        again = self.client.sessions.create(key="k-1")
        self.assertEqual(one["id"], again["id"])
        self.assertEqual(self.client.sessions.get(one["id"])["metadata"], {"a": [1, "ü"]})
        self.assertEqual(self.client.sessions.touch(one["id"])["id"], one["id"])

    def test_rotation_kills_the_old_token(self):
        session = self.client.sessions.create(key="before-login")
        old = self.client.using(session["token"])
        self.assertEqual(old.sessions.get()["id"], session["id"])
        new = self.client.sessions.rotate(session["id"], key="after-login", user="bob")
        self.assertEqual(new["user"], "bob")
        with self.assertRaises(bowline.Unauthenticated):
            old.sessions.get()
        self.assertEqual(self.client.using(new["token"]).sessions.get()["id"], session["id"])

    def test_merge_moves_the_tasks(self):
        source, target = self.client.sessions.create(), self.client.sessions.create()
        task = self.client.tasks.create(source["id"], "work")
        self.assertEqual(self.client.sessions.merge(source["id"], target["id"])["id"], target["id"])
        self.assertEqual(self.client.tasks.get(task["id"])["session"], target["id"])
        self.assertEqual(self.client.sessions.get(source["id"])["reason"], "merged")

    def test_end_and_list(self):
        sessions = [self.client.sessions.create(user="carol") for _ in range(3)]
        self.assertEqual(self.client.sessions.end(sessions[0]["id"])["state"], "ended")
        self.assertEqual(self.client.using(sessions[1]["token"]).sessions.end()["reason"], "logout")
        active = [s["id"] for s in self.client.sessions.list(user="carol", state="active")]
        self.assertEqual(active, [sessions[2]["id"]])
        with self.assertRaises(bowline.Conflict) as caught:
            self.client.using(sessions[0]["token"]).sessions.get()
        self.assertEqual(caught.exception.code, "session-ended")


class Tasks(Case):
    def test_a_list_goes_over_all_pages(self):
        session = self.client.sessions.create()
        tasks = [self.client.tasks.create(session["id"], "many", queue="nobody", ttl=60)["id"] for _ in range(5)]
        client = self.client.using(server.key)
        request = client.request
        calls = []

        def small(method, path, *a, **k):
            k["query"] = {**k["query"], "limit": 2}
            calls.append(path)
            return request(method, path, *a, **k)

        client.request = small
        self.assertEqual([t["id"] for t in client.tasks.list(session=session["id"])], tasks[::-1])
        self.assertEqual(len(calls), 3)

    def test_an_idempotency_key_starts_one_task(self):
        session = self.client.sessions.create()
        one, two = (self.client.tasks.create(session["id"], "work", idempotency_key="click-1")["id"] for _ in range(2))
        self.assertEqual(one, two)
        with self.assertRaises(bowline.Problem) as caught:
            self.client.tasks.create(session["id"], "other", idempotency_key="click-1")
        self.assertEqual(caught.exception.code, "idempotency-mismatch")

    def test_result_before_and_after_the_end(self):
        task = self.task(queue=None)
        with self.assertRaises(bowline.NotFinished) as caught:
            self.client.tasks.result(task["id"])
        self.assertEqual(caught.exception.task["state"], "queued")
        worker = self.client.using(task["worker_token"])
        said = worker.report(task["id"], [{"type": "output", "data": "abc", "offset": 0}, {"type": "succeed", "result": {"x": [None, 1.5, "é"]}}])
        self.assertEqual(said["state"], "succeeded")
        self.assertEqual(self.client.tasks.result(task["id"]), {"x": [None, 1.5, "é"]})
        self.assertEqual(self.client.tasks.output(task["id"]), (0, b"abc", True))
        self.assertEqual(b"".join(self.client.tasks.follow_output(task["id"], 1)), b"bc")
        self.assertIsNotNone(self.client.using(task["token"]).tasks.seen(task["id"])["seen_at"])
        self.client.tasks.delete(task["id"])
        with self.assertRaises(bowline.Gone) as caught:
            self.client.tasks.get(task["id"])
        self.assertEqual(caught.exception.body["state"], "succeeded")

    def test_result_of_a_failed_task_is_a_conflict(self):
        task = self.task(queue=None)
        self.client.report(task["id"], {"type": "fail", "error": {"type": "disk-full", "message": "no"}}, token=task["worker_token"])
        with self.assertRaises(bowline.Conflict) as caught:
            self.client.tasks.result(task["id"])
        self.assertEqual((caught.exception.status, caught.exception.code), (409, "task-failed"))

    def test_wait_sees_the_end_and_gives_up_in_time(self):
        task = self.task(queue=None)
        with self.assertRaises(TimeoutError):
            self.client.tasks.wait(task["id"], 0.05)
        timer = threading.Timer(0.1, lambda: self.client.report(task["id"], {"type": "succeed"}, token=task["worker_token"]))
        timer.start()
        self.assertEqual(self.client.tasks.wait(task["id"], 20)["state"], "succeeded")
        timer.join()

    def test_cancel_bind_token(self):
        task = self.task()
        other = self.client.sessions.create(key="other-of-bind")
        moved = self.client.tasks.bind(task["id"], {"key": "other-of-bind"})
        self.assertEqual(moved["session"], other["id"])
        self.assertEqual(self.client.tasks.token(task["id"]), moved["token"])
        with self.assertRaises(bowline.Unauthenticated):
            self.client.using(task["token"]).tasks.get(task["id"])
        self.assertEqual(self.client.using(moved["token"]).tasks.cancel(task["id"], "enough")["cancel_reason"], "enough")
        with self.assertRaises(bowline.Conflict):
            self.client.tasks.cancel(task["id"])

    def test_a_session_starts_its_own_task(self):
        session = self.client.sessions.create()
        own = self.client.using(session["token"])
        task = own.tasks.start("note", input={"a": 1})
        self.assertEqual([t["id"] for t in own.tasks.own()], [task["id"]])
        self.assertEqual(self.client.tasks.input(task["id"]), {"a": 1})

    def test_claim_and_release(self):
        task = self.task(input=[1])
        claimed, = self.client.claim(self.queue(), worker="me")
        self.assertEqual((claimed["id"], claimed["input"], claimed["attempt"]), (task["id"], [1], 1))
        self.assertEqual(self.client.claim(self.queue()), [])
        self.client.release(self.queue(), claimed["worker_token"])
        self.assertEqual(self.client.claim(self.queue(), 5)[0]["id"], task["id"])
        self.assertIn(self.queue(), [q["name"] for q in self.client.queues()])


class Errors(Case):
    def test_a_problem_says_where(self):
        with self.assertRaises(bowline.Problem) as caught:
            self.client.tasks.create(self.client.sessions.create()["id"], "UPPER", lease=-1)
        e = caught.exception
        self.assertEqual((e.status, e.code), (400, "invalid-request"))
        self.assertIn("/kind", e.pointers)
        self.assertIn("/kind", str(e))

    def test_each_refusal_has_its_class(self):
        session = self.client.sessions.create()
        cases = [
            (bowline.Unauthenticated, lambda: self.client.using("blk_no").sessions.create()),
            (bowline.Unauthenticated, lambda: self.client.using("").sessions.create()),
            (bowline.Forbidden, lambda: self.client.using(session["token"]).sessions.create()),
            (bowline.NotFound, lambda: self.client.tasks.get("tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV")),
            (bowline.TooLarge, lambda: self.client.sessions.create(metadata={"a": "x" * 5000})),
        ]
        for kind, call in cases:
            with self.subTest(kind=kind.__name__), self.assertRaises(kind):
                call()

    def test_nobody_there_is_connection_lost(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            client = Client(f"http://127.0.0.1:{free.getsockname()[1]}", "blk_x", patience=0.2)
            with self.assertRaises(bowline.ConnectionLost):
                client.sessions.create()

    def test_urls_that_are_none(self):
        for url in ("127.0.0.1:1", "ftp://x", "http://", "http://x?y", "http://x/v1", "http://x/p/v1/", "http://u:p@x"):
            with self.subTest(url=url), self.assertRaises(ValueError):
                Client(url, "k")


class Watching(Case):
    def test_a_session_from_the_first_to_the_last_event(self):
        session = self.client.sessions.create()
        self.client.tasks.create(session["id"], "work", title="one")
        seen = []
        for event in self.client.using(session["token"]).watch():
            seen.append(event)
            if event.event == "live":
                self.client.tasks.create(session["id"], "work", title="two")
            if event.event == "task" and event.data["task"]["title"] == "two":
                self.client.sessions.end(session["id"])
        self.assertEqual([e.event for e in seen], ["task", "live", "task", "session"])
        self.assertEqual(seen[-1].data["reason"], "logout")
        self.assertEqual(list(self.client.using(session["token"]).watch()), [])

    def test_resumes_at_a_cursor(self):
        session = self.client.sessions.create()
        self.client.tasks.create(session["id"], "work", title="one")
        feed = self.client.watch(session=session["id"])
        cursor = next(feed).id
        feed.close()
        self.client.tasks.create(session["id"], "work", title="two")
        feed = self.client.watch(session=session["id"], after=cursor)
        self.assertEqual(next(feed).data["task"]["title"], "two")
        self.assertEqual(next(feed).event, "live")
        feed.close()

    def test_a_task_with_its_output_to_its_end(self):
        task = self.task(queue=None)
        self.client.report(task["id"], [{"type": "output", "data": "ab\n", "offset": 0}, {"type": "succeed", "result": 1}], token=task["worker_token"])
        events = list(self.client.using(task["token"]).watch(task=task["id"]))
        self.assertIn("ab\n", [e.data.get("data") for e in events if e.event == "output"])
        self.assertEqual([e for e in events if e.event == "task"][-1].data["task"]["state"], "succeeded")

    def test_a_watcher_too_many_is_refused(self):
        session = self.client.sessions.create()
        feeds = [self.client.watch(session=session["id"]) for _ in range(64)]
        for feed in feeds:
            next(feed)
        with self.assertRaises(bowline.Limited) as refused:
            next(self.client.watch(session=session["id"]))
        self.assertEqual((refused.exception.status, refused.exception.code, refused.exception.retry_after), (429, "quota-exceeded", 30))
        for feed in feeds:
            feed.close()

    def test_a_dead_token_is_refused(self):
        with self.assertRaises(bowline.Unauthenticated):
            next(self.client.using("ses_01ARZ3NDEKTSV4RRFFQ69G5FAV.g1.AAAAAAAAAAAAAAAAAAAAAA").watch())


class Working(Case):
    def test_the_result_of_a_function_and_all_it_reported(self):
        worker = self.worker()

        @worker.task(self.queue())
        def do(job):
            for n in range(1, 2001):
                job.progress(n, 2000, unit="steps", message=f"step {n}")
                job.output(f"line {n}\n")
            return {"sum": sum(job.input)}

        task = self.task(input=[1, 2, 3])
        worker.start()
        ended = self.client.tasks.wait(task["id"], 20)
        self.assertEqual((ended["state"], ended["result"]), ("succeeded", {"sum": 6}))
        self.assertEqual((ended["progress"]["current"], ended["progress"]["message"]), (2000, "step 2000"))
        self.assertEqual(b"".join(self.client.tasks.follow_output(task["id"])), "".join(f"line {n}\n" for n in range(1, 2001)).encode())
        self.assertLess(ended["version"], 200, "progress is coalesced")

    def test_output_of_any_bytes_and_any_size(self):
        data = bytes(range(256)) * 12000
        worker = self.worker()

        @worker.task(self.queue())
        def do(job):
            for at in range(0, len(data), 100_000):
                job.output(data[at:at + 100_000])

        task = self.task()
        worker.start()
        self.assertEqual(self.client.tasks.wait(task["id"], 30)["state"], "succeeded")
        self.assertEqual(b"".join(self.client.tasks.follow_output(task["id"])), data)

    def test_a_function_per_kind(self):
        worker = self.worker()
        worker.task(self.queue(), "add")(lambda job: sum(job.input))
        worker.task(self.queue(), "count")(lambda job: len(job.input))
        add, count, other = (self.task(kind=kind, input=[2, 3]) for kind in ("add", "count", "other"))
        worker.start()
        self.assertEqual(self.client.tasks.wait(add["id"], 20)["result"], 5)
        self.assertEqual(self.client.tasks.wait(count["id"], 20)["result"], 2)
        self.assertEqual(self.client.tasks.wait(other["id"], 20)["error"]["type"], "unknown-kind")

    def test_heartbeats_keep_a_silent_function_alive(self):
        worker = self.worker()

        @worker.task(self.queue())
        def do(job):
            job.sleep(6)
            return "alive"

        task = self.task(lease=2)
        worker.start()
        ended = self.client.tasks.wait(task["id"], 20)
        self.assertEqual((ended["state"], ended["attempt"]), ("succeeded", 1))

    def test_no_more_at_once_than_allowed(self):
        worker = self.worker(concurrency=2)
        running, most, lock = [0], [0], threading.Lock()

        @worker.task(self.queue())
        def do(job):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            job.sleep(0.05)
            with lock:
                running[0] -= 1

        tasks = [self.task() for _ in range(8)]
        worker.start()
        for task in tasks:
            self.assertEqual(self.client.tasks.wait(task["id"], 20)["state"], "succeeded")
        self.assertEqual(most[0], 2)

    def test_cancelling_raises(self):
        worker = self.worker()
        swallowed = []

        @worker.task(self.queue())
        def do(job):
            try:
                while True:
                    job.sleep(0.05)
            except Exception as e:  # must not catch it
                swallowed.append(e)

        task = self.task(lease=2)
        worker.start()
        self.client.tasks.wait(task["id"], 20, until=lambda t: t["state"] == "running")
        self.client.tasks.cancel(task["id"])
        self.assertEqual(self.client.tasks.wait(task["id"], 20)["state"], "cancelled")
        self.assertEqual(swallowed, [])

    def test_cancelling_as_a_flag(self):
        worker = self.worker()

        @worker.task(self.queue(), raise_on_cancel=False)
        def do(job):
            while not job.cancelled:
                job.progress(message="going on")
                job.stopping.wait(0.05)
            job.progress(message="stopped early")
            return "partial"

        task = self.task()
        worker.start()
        self.client.tasks.wait(task["id"], 20, until=lambda t: t["progress"]["message"])
        self.client.tasks.cancel(task["id"])
        ended = self.client.tasks.wait(task["id"], 20)
        self.assertEqual((ended["state"], ended["result"]), ("succeeded", "partial"))

    def test_a_question_waits_for_its_answer(self):
        worker = self.worker()

        @worker.task(self.queue())
        def do(job):
            first = job.ask("Overwrite?", {"type": "boolean"})
            second = job.ask("Overwrite?", {"type": "boolean"})
            job.sleep(3)
            return [first, second]

        task = self.task(lease=2)
        worker.start()
        asks = lambda t: t["state"] == "input_required"
        one = self.client.tasks.wait(task["id"], 20, until=asks)["input_request"]
        self.assertEqual((one["prompt"], one["schema"]), ("Overwrite?", {"type": "boolean"}))
        self.client.using(task["token"]).tasks.answer(task["id"], one["id"], False)
        two = self.client.tasks.wait(task["id"], 20, until=lambda t: asks(t) and t["input_request"]["id"] != one["id"])["input_request"]
        self.client.tasks.answer(task["id"], two["id"], {"yes": 1})
        ended = self.client.tasks.wait(task["id"], 20)
        self.assertEqual((ended["result"], ended["attempt"]), ([False, {"yes": 1}], 1))

    def test_a_question_ends_when_cancelled_or_out_of_time(self):
        worker = self.worker()

        @worker.task(self.queue(), raise_on_cancel=False)
        def do(job):
            with self.assertRaises(TimeoutError):
                job.ask("Anybody?", timeout=0.1)
            job.ask("Hello?")

        task = self.task()
        worker.start()
        self.client.tasks.wait(task["id"], 20, until=lambda t: t["input_request"] and t["input_request"]["prompt"] == "Hello?")
        self.client.tasks.cancel(task["id"])
        self.assertEqual(self.client.tasks.wait(task["id"], 20)["state"], "cancelled")

    def test_failures_and_what_follows(self):
        worker = self.worker()
        tries = []

        @worker.task(self.queue(), "fail")
        def fail(job):
            raise bowline.Fail("disk-full", "no space", {"free": 0})

        @worker.task(self.queue(), "retry")
        def retry(job):
            tries.append(job.task["attempt"])
            if len(tries) < 3:
                raise bowline.Retry("not yet")
            return "third time"

        @worker.task(self.queue(), "crash")
        def crash(job):
            return 1 / 0

        @worker.task(self.queue(), "odd")
        def odd(job):
            return {1, 2}

        tasks = {kind: self.task(kind=kind, max_attempts=3 if kind == "retry" else 1, backoff=0) for kind in ("fail", "retry", "crash", "odd")}
        worker.start()
        ended = {kind: self.client.tasks.wait(task["id"], 20) for kind, task in tasks.items()}
        self.assertEqual(ended["fail"]["error"], {"type": "disk-full", "message": "no space", "detail": {"free": 0}})
        self.assertEqual((ended["retry"]["state"], ended["retry"]["result"], tries), ("succeeded", "third time", [1, 2, 3]))
        self.assertEqual(ended["crash"]["error"]["message"], "ZeroDivisionError: division by zero")
        self.assertEqual(ended["odd"]["error"]["type"], "exception")

    def test_a_refused_report_is_told_to_the_function(self):
        worker = self.worker()

        @worker.task(self.queue())
        def do(job):
            job.progress(-1, 10)
            while True:
                job.sleep(0.05)

        task = self.task()
        worker.start()
        ended = self.client.tasks.wait(task["id"], 20)
        self.assertEqual(ended["state"], "failed")
        self.assertIn("/current", ended["error"]["message"])

    def test_a_result_too_large_is_a_failure(self):
        worker = self.worker()
        worker.task(self.queue())(lambda job: "x" * (8 * 1024 * 1024 + 10))
        task = self.task()
        worker.start()
        self.assertEqual(self.client.tasks.wait(task["id"], 30)["error"]["type"], "too-large")

    def test_a_superseded_attempt_stops(self):
        worker = self.worker()
        why = []

        @worker.task(self.queue())
        def do(job):
            try:
                while True:
                    job.sleep(0.05)
            except bowline.Stopped as e:
                why.append(type(e))
                raise

        task = self.task(timeout=0.3)
        worker.start()
        self.assertEqual(self.client.tasks.wait(task["id"], 20)["error"]["type"], "timeout")
        until(lambda: why == [bowline.Superseded], "the function to hear of it")

    def test_stop_waits_for_what_finishes_and_gives_back_the_rest(self):
        worker = Worker(self.client)
        why = []

        @worker.task(self.queue(), "short")
        def short(job):
            job.progress(message="begun")
            job.sleep(0.3)
            return "done"

        @worker.task(self.queue(), "long")
        def long(job):
            job.progress(message="begun")
            try:
                job.sleep(600)
            except bowline.Released as e:
                why.append(e)
                raise

        tasks = [self.task(kind=kind) for kind in ("short", "long")]
        worker.start()
        for task in tasks:
            self.client.tasks.wait(task["id"], 20, until=lambda t: t["progress"]["message"])
        worker.stop(drain=3)
        self.assertEqual(self.client.tasks.get(tasks[0]["id"])["result"], "done")
        self.assertEqual(self.client.tasks.get(tasks[1]["id"])["state"], "queued")
        self.assertEqual(len(why), 1)
        self.assertEqual([t.name for t in threading.enumerate() if t.name.startswith("bowline-claim")], [])

    def test_a_wrong_key_ends_run(self):
        worker = Worker(self.client.using("blk_wrong"))
        worker.task(self.queue())(lambda job: None)
        with self.assertRaises(bowline.Unauthenticated):
            worker.run()

    def test_perform_does_a_task_without_a_queue(self):
        task = self.task(queue=None, input={"n": 20})
        self.assertTrue(bowline.perform(self.client, task["id"], task["worker_token"], lambda job: job.input["n"] + 1))
        self.assertEqual(self.client.tasks.result(task["id"]), 21)

    def test_a_fork_shares_no_connection(self):
        self.client.sessions.create()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                self.client.sessions.create(key="from-the-child")
                code = 0
            finally:
                os._exit(code)
        self.client.sessions.create()
        self.assertEqual(os.waitpid(child, 0)[1], 0)


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from bowline import Client, Worker
worker = Worker(Client(sys.argv[2], sys.argv[3]), drain=float(sys.argv[4]))
@worker.task("of-a-program")
def do(job):
    print(job.task["id"], flush=True)
    job.sleep(job.input)
    return "done"
worker.run()
print("drained", flush=True)
"""


class Programs(Case):
    def program(self, drain):
        child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(HERE), server.url, server.key, str(drain)], stdout=subprocess.PIPE, text=True)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def test_sigterm_drains(self):
        task = self.task(queue="of-a-program", input=0.5)
        child = self.program(20)
        self.assertEqual(child.stdout.readline().strip(), task["id"])
        child.send_signal(signal.SIGTERM)
        self.assertEqual(child.stdout.read(), "drained\n")
        self.assertEqual(child.wait(20), 0)
        self.assertEqual(self.client.tasks.get(task["id"])["result"], "done")

    def test_a_second_sigterm_gives_back_at_once(self):
        task = self.task(queue="of-a-program", input=600)
        child = self.program(600)
        self.assertEqual(child.stdout.readline().strip(), task["id"])
        child.send_signal(signal.SIGTERM)
        time.sleep(1)  # two at once would be one
        child.send_signal(signal.SIGTERM)
        self.assertEqual(child.wait(20), 0)
        self.assertEqual(self.client.tasks.get(task["id"])["state"], "queued")
        self.client.tasks.cancel(task["id"])


class LostServer(unittest.TestCase):
    def test_everybody_survives_a_restart(self):
        own = Server()
        self.addCleanup(own.close)
        client = Client(own.url, own.key, patience=20)
        self.addCleanup(client.close)
        worker = Worker(client)
        self.addCleanup(worker.stop, 0)
        session = client.sessions.create()
        told = threading.Event()
        seen = []

        @worker.task("q")
        def do(job):
            job.output("before\n")
            job.progress(1, 2)
            told.wait()
            job.progress(2, 2)
            job.output("after\n")
            return "whole"

        def watch():
            for event in client.using(session["token"]).watch():
                seen.append(event)

        watcher = threading.Thread(target=watch)
        watcher.start()
        task = client.tasks.create(session["id"], "work", queue="q")
        worker.start()
        until(lambda: client.tasks.output(task["id"])[1] == b"before\n", "the first output")
        own.end(signal.SIGKILL)
        told.set()
        time.sleep(0.3)
        own.start()
        ended = client.tasks.wait(task["id"], 30)
        self.assertEqual((ended["state"], ended["result"], ended["attempt"]), ("succeeded", "whole", 1))
        self.assertEqual(client.tasks.output(task["id"])[1], b"before\nafter\n")
        again = client.tasks.create(session["id"], "work", queue="q")
        self.assertEqual(client.tasks.wait(again["id"], 30)["state"], "succeeded")
        until(lambda: any(e.event == "task" and e.data["task"]["id"] == again["id"] and e.data["task"]["ended_at"] for e in list(seen)), "the watcher to be back")
        client.sessions.end(session["id"])
        watcher.join(20)
        self.assertFalse(watcher.is_alive())
        versions = {}
        for event in seen:
            if event.event == "task":
                shown = event.data["task"]
                self.assertGreater(shown["version"], versions.get(shown["id"], 0))
                versions[shown["id"]] = shown["version"]
        self.assertEqual(versions, {t["id"]: t["version"] for t in client.tasks.list(session=session["id"])})
        self.assertEqual(json.loads(json.dumps(seen[-1].data))["state"], "ended")

    def test_creating_is_repeated_and_counts_once(self):
        own = Server()
        self.addCleanup(own.close)
        client = Client(own.url, own.key, patience=20)
        self.addCleanup(client.close)
        session = client.sessions.create()
        own.end()
        back = threading.Timer(0.4, own.start)
        back.start()
        task = client.tasks.create(session["id"], "work")
        back.join()
        self.assertEqual([t["id"] for t in client.tasks.list()], [task["id"]])


if __name__ == "__main__":
    unittest.main()
