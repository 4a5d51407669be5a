"""The client against the real program: python3 -m unittest -v test_bowline, here, with BOWLINE_BIN naming the program (else build/bowline)."""

import decimal
import fractions
import json
import logging
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


class Rows:
    """A number of a library that is none of Python's, as NumPy has them."""

    dtype, ndim = "float32", 0

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value

    def __float__(self):
        return float(self.value)


def numbers_of(value):
    """The same number in the types that a worker may have it in."""
    numbers = [value, decimal.Decimal(value), fractions.Fraction(value), Rows(value)]
    try:
        import numpy
        numbers += [numpy.float32(value), numpy.float64(value), numpy.int64(value), numpy.uint8(value), numpy.array(value), numpy.longdouble(value)]
    except ImportError:
        pass
    return numbers


NO_TEXT = os.fsdecode(b"caf\xe9.txt")  # the name of a file that is not UTF-8
MENDED = "caf\ufffd.txt"


class Values(unittest.TestCase):
    """What can be sent, what is made so, and what is said of the rest."""

    def sent(self, value, mend=True):
        return json.loads(bowline._encode(value, "/x", mend))

    def refused(self, value, *words, mend=True):
        with self.assertRaises(bowline.Unsendable) as caught:
            bowline._encode(value, "/x", mend)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_numbers_of_other_libraries_are_plain_ones(self):
        for number in numbers_of(40):
            self.assertEqual(self.sent({"a": [number]}), {"a": [40]}, repr(number))
        self.assertEqual(self.sent([decimal.Decimal("0.1"), decimal.Decimal("1E+2"), fractions.Fraction(1, 4), Rows(True)]), [0.1, 100, 0.25, True])
        self.assertEqual(self.sent({7: 2, None: 3, True: 4, 1.5: 5, decimal.Decimal(6): 6}), {"7": 2, "null": 3, "true": 4, "1.5": 5, "6": 6})
        self.assertEqual(self.sent((1, [(2,)])), [1, [[2]]])

    def test_what_json_does_not_have_is_named_with_its_place(self):
        holds_itself = []
        holds_itself.append(holds_itself)
        for value, *words in [(float("nan"), "/x: nan"), ({"a": [1, {"b/~": float("inf")}]}, "/x/a/1/b~1~0: inf"), (decimal.Decimal("NaN"), "NaN"),
                              (decimal.Decimal("sNaN"), "sNaN"), (decimal.Decimal("-Infinity"), "Infinity"), (Rows(float("nan")), "nan"), (1j, "1j"),
                              (decimal.Decimal("0.1234567890123456789"), "digits"), (fractions.Fraction(1, 3), "digits"), ({"s": {1}}, "/x/s: a set"),
                              (b"bytes", "bytes"), (object(), "object"), ({(1, 2): 3}, "tuple"), ({1: 2, "1": 3, "f": b""}, "twice"), (holds_itself, "/x/0: holds itself"),
                              (pathlib.Path("/"), "Path"), (10 ** 5000 if hasattr(sys, "get_int_max_str_digits") else {2}, "/x")]:
            self.refused(value, *words)
        deep = []
        for _ in range(100000):
            deep = [deep]
        self.refused(deep, "nested")
        while deep:
            deep = deep.pop()

    def test_lone_surrogates_are_mended_or_named(self):
        self.assertEqual(self.sent({NO_TEXT: [NO_TEXT, "\ud83d\ude00", "a\ud800"]}), {MENDED: [MENDED, "\U0001f600", "a\ufffd"]})
        self.refused({"a": NO_TEXT}, "/x/a", "surrogate", mend=False)
        self.refused({NO_TEXT: 1}, "/x/caf", "surrogate", mend=False)

    def test_an_exception_that_cannot_speak_is_told(self):
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("no")

        self.assertIn("Mute", bowline._told(Mute()))
        self.assertEqual(bowline._told(FileNotFoundError(2, "No such file", NO_TEXT)), f"FileNotFoundError: [Errno 2] No such file: 'caf\\udce9.txt'")
        self.assertEqual(bowline._told(ValueError(NO_TEXT)), f"ValueError: {MENDED}")


class Sending(Case):
    """Whatever a task's function says or does, its end is told."""

    def ends(self, function, input=None, **members):
        """Does one task by that function, and gives it when it has ended."""
        worker = self.worker()
        worker.task(self.queue())(function)
        task = self.task(input=input, lease=members.pop("lease", 30), **members)
        worker.start()
        ended = self.client.tasks.wait(task["id"], 20)
        self.assertEqual(ended["attempt"], 1)
        worker.stop()
        return ended

    def test_numbers_of_any_type(self):
        seen = []

        def do(job):
            for number in numbers_of(40):
                job.progress(number, decimal.Decimal("100.5"))
                seen.append(number)
            job.progress(total=fractions.Fraction(1, 3) + 100)
            return {"rows": decimal.Decimal(3)}

        ended = self.ends(do)
        self.assertEqual((ended["state"], ended["result"], ended["progress"]["current"]), ("succeeded", {"rows": 3}, 40))
        self.assertAlmostEqual(ended["progress"]["total"], 100 + 1 / 3)

    def test_what_is_no_number_raises_where_it_was_said(self):
        said = []

        def do(job):
            for number in [float("nan"), float("inf"), -float("inf"), decimal.Decimal("NaN"), decimal.Decimal("Infinity"), Rows(float("nan")), -1, 1e16, 10 ** 400,
                           "40", b"4", True, 1j, object(), [1]]:
                for name in ("current", "total"):
                    try:
                        job.progress(**{name: number})
                    except ValueError as e:
                        said.append(str(e).split(":")[0] == f"/{name}" and isinstance(e, bowline.Unsendable))
            job.progress(7, 10, message="still here")
            return "done"

        ended = self.ends(do)
        self.assertEqual((ended["state"], ended["progress"]["current"], ended["progress"]["message"]), ("succeeded", 7, "still here"))
        self.assertEqual(said, [True] * 30)

    def test_one_that_is_not_caught_fails_the_attempt_with_what_and_why(self):
        error = self.ends(lambda job: job.progress(float("nan")))["error"]
        self.assertEqual(error["type"], "exception")
        self.assertRegex(error["message"], "^Unsendable: /current: nan")

    def test_texts_that_are_no_text(self):
        def do(job):
            job.progress(1, unit=NO_TEXT, message=f"reading {NO_TEXT}\0", phase=NO_TEXT, data={NO_TEXT: "\ud800"})
            job.output(f"{NO_TEXT}\n\ud800")
            return [NO_TEXT]

        ended = self.ends(do)
        progress = ended["progress"]
        self.assertEqual((ended["state"], ended["result"]), ("succeeded", [MENDED]))
        self.assertEqual((progress["unit"], progress["message"], progress["phase"], progress["data"]), (MENDED, f"reading {MENDED}\ufffd", MENDED, {MENDED: "\ufffd"}))
        self.assertEqual(self.client.tasks.output(ended["id"])[1], f"{MENDED}\n\ufffd".encode())

    def test_output_has_the_bytes_of_a_name(self):
        ended = self.ends(lambda job: job.output(NO_TEXT))
        self.assertEqual(self.client.tasks.output(ended["id"])[1], b"caf\xe9.txt")

    def test_a_long_message_is_cut_and_the_numbers_count(self):
        ended = self.ends(lambda job: job.progress(3, message="\U0001f600" * 600))
        self.assertEqual((ended["progress"]["current"], ended["progress"]["message"]), (3, "\U0001f600" * 500))

    def test_other_texts_out_of_bounds_raise_where_they_were_said(self):
        said = []

        def do(job):
            for members in [{"unit": "x" * 33}, {"phase": "x" * 81}, {"phase": ""}, {"message": 5}, {"unit": b"x"}, {"phase": ["x"]}, {"data": {1, 2}}, {"data": float("nan")}]:
                try:
                    job.progress(1, **members)
                except bowline.Unsendable as e:
                    said.append(e.place)

        ended = self.ends(do)
        self.assertEqual((ended["state"], ended["progress"]["current"]), ("succeeded", None))
        self.assertEqual(said, ["/unit", "/phase", "/phase", "/message", "/unit", "/phase", "/data", "/data"])

    def test_exceptions_of_every_kind(self):
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("no")

        class Rude(BaseException):
            pass

        def do(job):
            raise {"name": OSError(2, "No such file", os.fsencode(NO_TEXT)), "text": ValueError(NO_TEXT), "mute": Mute(), "long": ValueError("x" * 5000), "exit": SystemExit(3),
                   "interrupt": KeyboardInterrupt(), "rude": Rude("no"), "superseded": bowline.Superseded(), "released": bowline.Released(),
                   "stop": StopIteration(), "generator": GeneratorExit()}[job.input]

        for what, type, message in [("name", "exception", "FileNotFoundError"), ("text", "exception", f"ValueError: {MENDED}"), ("mute", "exception", "Mute"),
                                    ("long", "exception", "ValueError: xxx"), ("exit", "exit", "SystemExit: 3"), ("interrupt", "interrupted", "KeyboardInterrupt"),
                                    ("rude", "exception", "Rude: no"), ("superseded", "exception", "Superseded"), ("released", "exception", "Released"),
                                    ("stop", "exception", "StopIteration"), ("generator", "exception", "GeneratorExit")]:
            with self.subTest(what):
                ended = self.ends(do, input=what)
                self.assertEqual((ended["state"], ended["error"]["type"]), ("failed", type))
                self.assertIn(message, ended["error"]["message"])

    def test_sys_exit_lets_another_attempt_follow(self):
        worker = self.worker()

        @worker.task(self.queue())
        def do(job):
            if job.task["attempt"] == 1:
                sys.exit()
            return "second"

        task = self.task(max_attempts=2, backoff=0, lease=30)
        worker.start()
        ended = self.client.tasks.wait(task["id"], 20)
        self.assertEqual((ended["result"], ended["attempt"]), ("second", 2))

    def test_perform_tells_the_end_before_it_lets_the_program_go(self):
        for what, type in ((SystemExit(4), "exit"), (KeyboardInterrupt(), "interrupted")):
            task = self.task(queue=None, lease=30)

            def do(job):
                job.progress(message="begun")
                raise what

            with self.assertRaises(what.__class__):
                bowline.perform(self.client, task["id"], task["worker_token"], do)
            ended = self.client.tasks.get(task["id"])
            self.assertEqual((ended["state"], ended["error"]["type"], ended["progress"]["message"]), ("failed", type, "begun"))

    def test_a_failure_that_cannot_be_told_as_it_is(self):
        for fail, type, message, detail in [
                (bowline.Fail("Disk full!", "no space"), "failed", "Disk full!: no space", None), (bowline.Fail(5, None), "failed", "5: None", None),
                (bowline.Fail("x", OSError("y")), "x", "OSError('y')", None), (bowline.Fail("x", NO_TEXT, [NO_TEXT]), "x", MENDED, [MENDED]),
                (bowline.Fail("x", "m", {1}), "x", "m (/error/detail: a set is nothing that JSON has)", None), (bowline.Fail("x", "m", float("nan")), "x", "nan", None),
                (bowline.Fail("x", "m", "y" * 70000), "x", "m", None), (bowline.Fail("x", "m" * 3000), "x", "m" * 2000, None)]:
            def do(job):
                raise fail

            error = self.ends(do)["error"]
            self.assertEqual((error["type"], error["detail"]), (type, detail))
            self.assertIn(message, error["message"])

    def test_a_result_that_cannot_be_sent(self):
        for result, message in [(float("nan"), "/result: nan"), ({"a": [{1}]}, "/result/a/0: a set"), (object(), "/result: a object"), (b"x", "/result: a bytes")]:
            ended = self.ends(lambda job: result)
            self.assertEqual((ended["state"], ended["error"]["type"]), ("failed", "exception"))
            self.assertIn(message, ended["error"]["message"])

    def test_what_is_changed_after_it_was_said(self):
        def do(job):
            data = {"n": 0}
            for n in range(300):
                job.progress(n, data=data)
                data[str(n % 7)] = n  # while it is being sent
                data.pop(str((n + 3) % 7), None)
                time.sleep(0.001)
            data.clear()
            data["n"] = 1
            job.progress(data=data)
            data["n"] = 2

        self.assertEqual(self.ends(do)["progress"]["data"], {"n": 1})

    def test_what_the_server_refuses_is_told_and_nothing_else_is_lost(self):
        told = []

        def do(job):
            job.output("before ")
            job.progress(5, 10, message="m", data="x" * 5000)
            while not told:
                try:
                    job.sleep(0.02)
                except bowline.Problem as e:
                    told.append((e.status, e.pointers[-1][-5:]))
            job.output("after")
            return "done"

        ended = self.ends(do)
        self.assertEqual((ended["state"], told), ("succeeded", [(413, "/data")]))
        self.assertEqual((ended["progress"]["current"], ended["progress"]["message"], ended["progress"]["data"]), (5, "m", None))
        self.assertEqual(self.client.tasks.output(ended["id"])[1], b"before after")

    def test_answers_that_are_none_are_asked_for_again(self):
        pause, bowline._pause = bowline._pause, lambda *_: 0.01
        self.addCleanup(setattr, bowline, "_pause", pause)
        worker = self.worker()

        @worker.task(self.queue())
        def do(job):
            request, broken = job._client.request, [ValueError("no JSON"), KeyError("output_offset"), OSError("certificate"), RuntimeError("odd"),
                                                    bowline._problem(502, {}, b"<html>"), bowline._problem(500, {}, b"{}"), bowline._problem(429, {}, b"{}")]

            def flaky(*a, **k):
                if broken:
                    raise broken.pop()
                return request(*a, **k)

            job._client.request = flaky
            job.progress(1, 2)
            job.output("all of it")
            return "done"

        task = self.task(lease=60)
        worker.start()
        ended = self.client.tasks.wait(task["id"], 40)
        self.assertEqual((ended["state"], ended["result"], ended["attempt"], ended["progress"]["current"]), ("succeeded", "done", 1, 1))
        self.assertEqual(self.client.tasks.output(task["id"])[1], b"all of it")

    def test_a_log_handler_that_fails(self):
        class Broken(logging.Handler):
            def emit(self, record):
                raise RuntimeError("no disk")

        handler = Broken()
        logging.getLogger("bowline").addHandler(handler)
        self.addCleanup(logging.getLogger("bowline").removeHandler, handler)
        self.assertEqual(self.ends(lambda job: 1 / 0)["error"]["message"], "ZeroDivisionError: division by zero")

    def test_a_fork_leaves_the_end_to_its_parent(self):
        def do(job):
            child = os.fork()
            if child == 0:
                sys.exit(7)
            os.waitpid(child, 0)
            return "of the parent"

        self.assertEqual(self.ends(do)["result"], "of the parent")

    def test_a_thread_that_goes_on_after_the_end_is_not_held(self):
        threads = []

        def do(job):
            def more():
                for _ in range(100):
                    job.output("x" * 100_000)

            threads.append(threading.Thread(target=more))
            threads[0].start()

        self.assertEqual(self.ends(do)["state"], "succeeded")
        threads[0].join(20)
        self.assertFalse(threads[0].is_alive())

    def test_calls_name_what_cannot_be_sent(self):
        session = self.client.sessions.create()["id"]
        task = self.task()
        tasks, sessions, client = self.client.tasks, self.client.sessions, self.client
        nan = float("nan")
        for call, place in [
                (lambda: tasks.create(session, "work", input={"a": [nan]}), "/input/a/0"), (lambda: tasks.create(session, "work", input={"a": NO_TEXT}), "/input/a"),
                (lambda: tasks.create(session, "work", lease=nan), "/lease"), (lambda: tasks.create(session, "work", metadata={"a": {1}}), "/metadata/a"),
                (lambda: tasks.create(session, NO_TEXT), "/kind"), (lambda: tasks.create({"key": NO_TEXT}, "work"), "/session/key"),
                (lambda: tasks.create(session, "work", title=5), "/title"), (lambda: tasks.create(session, "work", idempotency_key=NO_TEXT), "/idempotency_key"),
                (lambda: tasks.start("work", input=nan), "/input"), (lambda: tasks.get(NO_TEXT), "/id"), (lambda: tasks.answer(task["id"], "q1", nan), "/answer"),
                (lambda: tasks.cancel(task["id"], 5), "/reason"), (lambda: tasks.bind(task["id"], {"key": NO_TEXT}), "/session/key"),
                (lambda: list(tasks.list(user=NO_TEXT)), "?user"), (lambda: sessions.create(key=NO_TEXT), "/key"), (lambda: sessions.create(max_age=nan), "/max_age"),
                (lambda: sessions.create(metadata={"a": decimal.Decimal("NaN")}), "/metadata/a"), (lambda: sessions.rotate(session, user=NO_TEXT), "/user"),
                (lambda: sessions.merge(session, NO_TEXT), "/into"), (lambda: client.claim("q", lease=nan), "/lease"), (lambda: client.claim(NO_TEXT), "/id"),
                (lambda: client.report(task["id"], {"type": "progress", "current": nan}), "/current"), (lambda: client.release("q", NO_TEXT), "/token"),
                (lambda: client.request("POST", "/v1/sessions", {"metadata": {"x": b""}}), "/metadata/x")]:
            with self.subTest(place):
                with self.assertRaises(bowline.Unsendable) as caught:
                    call()
                self.assertEqual(caught.exception.place, place)
        made = tasks.create(session, "work", title=NO_TEXT, queue="nobody", lease=decimal.Decimal(30), input=[decimal.Decimal("1.5"), Rows(2)], idempotency_key="clé")
        self.assertEqual(made["title"], MENDED)
        self.assertEqual(tasks.input(made["id"]), [1.5, 2])
        self.assertEqual(tasks.create(session, "work", title=NO_TEXT, queue="nobody", lease=30, input=[1.5, 2], idempotency_key="clé")["id"], made["id"])
        self.assertEqual(tasks.cancel(made["id"], NO_TEXT)["cancel_reason"], MENDED)


class Phases(Case):
    def test_a_phase_begins_anew(self):
        worker = self.worker()
        go_on = threading.Event()

        @worker.task(self.queue())
        def do(job):
            job.progress(5, 10, unit="rows", message="m", phase="load", data={"a": 1})
            go_on.wait(20)
            job.progress(phase="never sent alone")
            job.progress(1, phase="load")  # the server may never hear of the one between
            job.progress(data=[2])
            job.progress(phase="load")
            return "done"

        task = self.task()
        worker.start()
        first = self.client.tasks.wait(task["id"], 20, until=lambda t: t["progress"]["phase"])["progress"]
        self.assertEqual([first[name] for name in ("phase", "current", "total", "unit", "message", "data")], ["load", 5, 10, "rows", "m", {"a": 1}])
        go_on.set()
        last = self.client.tasks.wait(task["id"], 20)["progress"]
        self.assertEqual([last[name] for name in ("phase", "current", "total", "unit", "message", "data")], ["load", 1, None, None, None, [2]])

    def test_none_clears(self):
        worker = self.worker()

        @worker.task(self.queue())
        def do(job):
            job.progress(1, phase="a", data=1)
            job.progress(data=None, message="m")
            job.progress(2, phase=None)

        task = self.task()
        worker.start()
        ended = self.client.tasks.wait(task["id"], 20)["progress"]
        self.assertEqual((ended["phase"], ended["data"], ended["message"], ended["current"]), (None, None, None, 2))


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
