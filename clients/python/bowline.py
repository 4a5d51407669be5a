"""Client for bowline: sessions, long tasks, and what comes of them. Standard library only, Python 3.9 and later.

    client = Client("http://127.0.0.1:8787", key)
    session = client.sessions.create(key="the framework's session id", user="u-17")
    task = client.tasks.create(session["id"], "report", queue="reports", input={"quarter": 3})
    print(client.tasks.wait(task["id"])["state"], client.tasks.result(task["id"]))

    worker = Worker(client)

    @worker.task("reports")
    def render(job):
        for page in range(1, 101):
            job.progress(page, 100, unit="pages")
        return {"file": "q3.pdf"}

    worker.run()

Objects of the interface (sessions, tasks, answers) are plain dictionaries as docs/api.md shows them. Every call is repeated by itself while the
server is away, for at most ``patience`` seconds: creating and changing carry an Idempotency-Key, reports have offsets and attempts, so none
of them counts twice.

Threads: a Client may be shared by all threads and survives a fork; a Job by the threads of the function that does it. A generator
(``watch``, ``list``, ``follow_output``) belongs to one thread at a time. Anything else is said where it stands.
"""

from __future__ import annotations

import base64
import decimal
import email.utils
import http.client
import json
import logging
import math
import numbers
import operator
import os
import queue
import random
import re
import signal
import socket
import ssl
import struct
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union
from urllib.parse import quote, urlencode, urlsplit

__all__ = [
    "Client", "Worker", "Job", "Event", "perform",
    "BowlineError", "ConnectionLost", "NotFinished", "Problem", "Unauthenticated", "Forbidden", "NotFound", "Conflict", "Gone", "TooLarge",
    "Limited", "Unavailable", "Unsendable", "Fail", "Retry", "Stopped", "Cancelled", "Superseded", "Released",
]

Json = Any
Object = Dict[str, Any]

ENDED = ("succeeded", "failed", "cancelled")

_log = logging.getLogger("bowline")
_log.addHandler(logging.NullHandler())


def _note(level: int, text: str, *values: Any, error: Optional[BaseException] = None) -> None:
    """To the log; what a handler of the application's does wrong is none of the worker's affair."""
    try:
        _log.log(level, text, *values, exc_info=error)
    except Exception:
        pass


_KEEP: Any = object()  # an argument left out, where None says something


# ---- errors ----


class BowlineError(Exception):
    """Whatever goes wrong between this client and the server."""


class ConnectionLost(BowlineError):
    """No answer came. Whether the call was carried out is unknown; repeating it is safe."""


class _Stale(ConnectionLost):
    """A connection kept from before was closed meanwhile: no reason to call the server away."""


class Unsendable(TypeError, ValueError):
    """A value that cannot be sent, raised where it was said: the message begins with its place, as in "/result/rows/0: …"."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place or '/'}: {why}")
        self.place = place


class NotFinished(BowlineError):
    """The result was asked for, and the task is under way. ``task`` is how it stands."""

    def __init__(self, task: Object) -> None:
        super().__init__(f"{task['id']} is {task['state']}")
        self.task = task


class Problem(BowlineError):
    """The server refused (RFC 9457): ``status``, ``code``, ``title``, ``detail``, ``errors`` as (pointer, detail), ``pointers``,
    ``retry_after`` in seconds or None, ``body`` with everything it said."""

    def __init__(self, status: int, body: Object, retry_after: Optional[float] = None) -> None:
        self.status = status
        self.body = body
        self.code: str = body.get("code", "")
        self.title: str = body.get("title", "")
        self.detail: str = body.get("detail", "")
        self.errors: List[Tuple[str, str]] = [(e.get("pointer", ""), e.get("detail", "")) for e in body.get("errors", ())]
        self.retry_after = retry_after
        places = "".join(f"; {pointer or '/'}: {detail}" for pointer, detail in self.errors)
        super().__init__(f"{status} {self.code}: {self.detail}{places}")

    @property
    def pointers(self) -> List[str]:
        return [pointer for pointer, _ in self.errors]


class Unauthenticated(Problem):
    """401"""


class Forbidden(Problem):
    """403"""


class NotFound(Problem):
    """404: it never was, or it is somebody else's."""


class Conflict(Problem):
    """409: ``code`` says which, such as ``task-ended`` or ``user-mismatch``."""


class Gone(Problem):
    """410: it was, and has been deleted or has expired; ``body`` has its kind, state, ended_at and gone_at."""


class TooLarge(Problem):
    """413"""


class Limited(Problem):
    """429: a quota or a rate; see ``retry_after``."""


class Unavailable(Problem):
    """503, or 502 and 504 from a proxy whose server is away."""


_PROBLEMS = {401: Unauthenticated, 403: Forbidden, 404: NotFound, 409: Conflict, 410: Gone, 413: TooLarge, 429: Limited, 502: Unavailable, 503: Unavailable,
             504: Unavailable}


class Fail(Exception):
    """Raised by the function that does a task: it failed. ``type`` is a short name (a-z, 0-9, ``._-``; another one is told as part of the message),
    ``retry`` lets another attempt follow."""

    def __init__(self, type: str, message: str = "", detail: Json = None, retry: bool = False) -> None:
        super().__init__(message or type)
        self.type, self.message, self.detail, self.retry = type, message, detail, retry


class Retry(Fail):
    """Raised by the function that does a task: this attempt failed, and another one may do better."""

    def __init__(self, message: str = "", type: str = "retry", detail: Json = None) -> None:
        super().__init__(type, message, detail, retry=True)


class Stopped(BaseException):
    """Raised inside a task's function when it need not go on. No ``Exception``, so that a broad ``except`` does not swallow it."""


class Cancelled(Stopped):
    """Somebody wants the task to stop."""


class Superseded(Stopped):
    """The attempt is over for the server: the lease ran out, the task was cancelled by force or has been deleted."""


class Released(Stopped):
    """The worker is stopping and has given the task back."""


# ---- HTTP ----


class _Answer:
    __slots__ = ("status", "headers", "data")

    def __init__(self, status: int, headers: http.client.HTTPMessage, data: bytes) -> None:
        self.status, self.headers, self.data = status, headers, data

    def json(self) -> Json:
        return json.loads(self.data) if self.data else None


class _Abort:
    """Ends a call that another thread waits in: that thread gets ConnectionLost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: Optional[socket.socket] = None
        self.set = False

    def hold(self, sock: Optional[socket.socket]) -> None:
        with self._lock:
            self._socket = sock
            if self.set and sock is not None:
                raise ConnectionLost("given up")

    def abort(self) -> None:
        with self._lock:
            self.set = True
            if self._socket is not None:
                try:
                    # Closing then resets the connection: the server sees at once that nobody reads the answer, and takes a claim back.
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def _problem(status: int, headers: Any, data: bytes) -> Problem:
    try:
        body = json.loads(data)
        if not isinstance(body, dict):
            raise ValueError
    except ValueError:
        body = {"title": "not an answer of bowline's", "detail": data[:200].decode("utf-8", "replace")}
    after = headers.get("Retry-After", "")
    return _PROBLEMS.get(status, Problem)(status, body, float(after) if after.isdigit() else None)


def _pause(tries: int, most: float = 5.0) -> float:
    return min(most, 0.1 * 2 ** min(tries, 10)) * random.uniform(0.5, 1.0)


class _Http:
    """Connections to one server, kept for the next call. Shared by all threads."""

    def __init__(self, url: str, timeout: float, context: Optional[ssl.SSLContext]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"not the URL of a server: {url!r}")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the URL of a server has no user name or password: give a key")
        if "v1" in parts.path.split("/"):
            raise ValueError(f"the URL of a server has no /v1, which requests begin with themselves: {url!r}")
        self.host, self.port, self.prefix = parts.hostname, parts.port, parts.path.rstrip("/")
        self.timeout = timeout
        self.context = (context or ssl.create_default_context()) if parts.scheme == "https" else None
        self._lock = threading.Lock()
        self._idle: List[http.client.HTTPConnection] = []
        self._pid = os.getpid()

    def open(self, timeout: float, fresh: bool = False) -> Tuple[http.client.HTTPConnection, bool]:
        """A connection, and whether it had been in use before."""
        with self._lock:
            if self._pid != os.getpid():  # the parent's connections are the parent's
                for inherited in self._idle:
                    inherited.close()
                self._idle, self._pid = [], os.getpid()
            connection = self._idle.pop() if self._idle and not fresh else None
        reused = connection is not None
        if connection is None:
            if self.context is not None:
                connection = http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self.context)
            else:
                connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
            connection.connect()
        connection.sock.settimeout(timeout)
        return connection, reused

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < 16 and self._pid == os.getpid():
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def call(self, method: str, path: str, headers: Dict[str, str], body: Optional[bytes], wait: float, abort: Optional[_Abort], fresh: bool) -> _Answer:
        connection, reused = None, False
        try:
            connection, reused = self.open(self.timeout + wait, fresh)
            if abort is not None:
                abort.hold(connection.sock)
            connection.request(method, self.prefix + path, body, {name: value.encode("utf-8") for name, value in headers.items()})
            response = connection.getresponse()
            answer = _Answer(response.status, response.headers, response.read())
            if abort is not None:
                abort.hold(None)
            if response.will_close:
                connection.close()
            else:
                self._keep(connection)
            return answer
        except BaseException as e:
            if abort is not None:
                abort.hold(None)
            if connection is not None:
                connection.close()
            if isinstance(e, ssl.SSLCertVerificationError) or not isinstance(e, (OSError, http.client.HTTPException, ConnectionLost)):
                raise
            stale = reused and isinstance(e, (ConnectionError, http.client.BadStatusLine)) and not (abort and abort.set)
            raise (_Stale if stale else ConnectionLost)(f"{method} {path}: {e or type(e).__name__}") from e


def _members(**given: Any) -> Object:
    return {name: value for name, value in given.items() if value is not None}


# ---- what can be sent ----

_DEPTH = 200  # more than any server takes


class _Encoded(bytes):
    """JSON already."""


def _encode(value: Json, place: str = "", mend: bool = False) -> bytes:
    """The value as JSON. Numbers of other libraries become plain ones where nothing is lost; with ``mend`` lone surrogates, as in names of files that are
    not UTF-8, become U+FFFD. Whatever else JSON does not have raises Unsendable with its place."""
    try:
        return _compact(value)
    except (TypeError, ValueError, RecursionError):
        return _compact(_plain(value, place, mend, []))


def _compact(value: Json) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _plain(value: Any, place: str, mend: bool, within: List[int]) -> Json:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, place, mend)
    if isinstance(value, (int, float)):
        return _number(value, place)
    if isinstance(value, (dict, list, tuple)):
        if id(value) in within or len(within) >= _DEPTH:
            raise Unsendable(place, "holds itself" if id(value) in within else "is nested too deeply")
        within.append(id(value))
        plain = _plain_object(value, place, mend, within) if isinstance(value, dict) else [_plain(v, f"{place}/{i}", mend, within) for i, v in enumerate(value)]
        within.pop()
        return plain
    return _foreign(value, place)


def _plain_object(value: Dict[Any, Any], place: str, mend: bool, within: List[int]) -> Object:
    plain: Object = {}
    for key, member in value.items():
        name = key if isinstance(key, str) else _name(key, place)
        there = f"{place}/{_shown(name)[1:-1].replace('~', '~0').replace('/', '~1')}"
        name = _text(name, there, mend)
        if name in plain:
            raise Unsendable(there, "the name stands twice")
        plain[name] = _plain(member, there, mend, within)
    return plain


def _name(key: Any, place: str) -> str:
    """A key that is no text, as the name that the json module makes of it."""
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    if not _is_number(key):
        raise Unsendable(place, f"a {type(key).__name__} is no name of a member")
    return json.dumps(_plain(key, place, False, []))


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Number) or hasattr(type(value), "__index__") or (hasattr(value, "dtype") and hasattr(value, "item"))


def _foreign(value: Any, place: str) -> Json:
    """A number of another library (decimal, fractions, NumPy and its like), as a plain one of the same value."""
    if getattr(value, "ndim", 0):
        raise Unsendable(place, f"a {type(value).__name__} is nothing that JSON has; its .tolist() may be")
    if hasattr(value, "dtype") and hasattr(value, "item"):
        item = value.item()
        return _plain(item if type(item) is not type(value) else float(value), place, False, [])
    if not _is_number(value):
        raise Unsendable(place, f"a {type(value).__name__} is nothing that JSON has")
    try:
        if hasattr(type(value), "__index__"):
            return _number(operator.index(value), place)
        if isinstance(value, decimal.Decimal) and value.is_finite() and value.adjusted() < 300 and value == value.to_integral_value():
            return _number(int(value), place)
        plain = float(value)
        same = decimal.Decimal(repr(plain)) if isinstance(value, decimal.Decimal) else plain
    except (TypeError, ValueError, ArithmeticError):
        raise Unsendable(place, f"{_shown(value)} is no number that can be sent") from None
    if not math.isfinite(plain):
        raise Unsendable(place, f"{_shown(value)} is no number that JSON has")
    if same != value:
        raise Unsendable(place, f"{_shown(value)} has more digits than a number that is sent: make it a float or a text")
    return _number(plain, place)


def _number(value: Union[int, float], place: str) -> Union[int, float]:
    if isinstance(value, float) and not math.isfinite(value):
        raise Unsendable(place, f"{_shown(value)} is no number that JSON has")
    if isinstance(value, int):
        try:
            int.__repr__(value)
        except ValueError:
            raise Unsendable(place, "the number has too many digits") from None
        return int(value)
    return float(value)


def _shown(value: Any) -> str:
    """For a message, whatever it is."""
    try:
        return ascii(value)[:100]
    except Exception:
        return f"a {type(value).__name__}"


def _text(value: str, place: str, mend: bool) -> str:
    try:
        value.encode("utf-8")
        return str(value)
    except UnicodeEncodeError:
        if not mend:
            raise Unsendable(place, f"{_shown(value)} holds a lone surrogate: is it the name of a file that is not UTF-8?") from None
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _words(value: Any, place: str, least: int = 0, most: Optional[int] = None) -> Optional[str]:
    """A text for people: what cannot be sent of it becomes U+FFFD."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise Unsendable(place, f"a {type(value).__name__} is no text")
    value = _text(value, place, True).replace("\0", "\ufffd")
    if len(value) < least or (most is not None and len(value) > most):
        raise Unsendable(place, f"must have {least} to {most} characters")
    return value


def _amount(value: Any, place: str) -> Union[None, int, float]:
    """A number of progress, of whatever type: 0 to 1e15."""
    if value is None:
        return None
    try:
        if isinstance(value, (bool, str, bytes, bytearray)):
            raise TypeError
        try:
            plain: Union[int, float] = operator.index(value)
        except TypeError:
            plain = float(value)
    except OverflowError:
        plain = math.inf
    except Exception:
        raise Unsendable(place, f"{_shown(value)} is no number") from None
    if not 0 <= plain <= 1e15:
        raise Unsendable(place, f"{_shown(value)} is not from 0 to 1e15")
    return plain


def _passing(refusal: Problem) -> bool:
    """Whether the same may be taken later."""
    return isinstance(refusal, Limited) or refusal.status == 408 or refusal.status >= 500


def _failure(type: str, message: str, detail: Optional[bytes] = None, retry: bool = False) -> bytes:
    error = b'{"type":%s,"message":%s' % (_compact(type), _compact((_words(message, "") or "")[:2000]))
    error += b',"detail":' + detail if detail is not None else b""
    return b'{"type":"fail","retry":%s,"error":%s}}' % (b"true" if retry else b"false", error)


def _fail(e: Fail) -> List[bytes]:
    """What a Fail says, in the order in which it is tried: the end is told, whatever cannot be told of it."""
    type, message = e.type, e.message if isinstance(e.message, str) else _shown(e.message)
    if not isinstance(type, str) or not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", type):
        type, message = "failed", f"{type if isinstance(type, str) else _shown(type)}: {message}"
    try:
        detail = None if e.detail is None else _encode(e.detail, "/error/detail", mend=True)
    except Exception as why:
        detail, message = None, f"{message} ({why})"
    plain = _failure(type, message, None, bool(e.retry))
    return [plain] if detail is None else [_failure(type, message, detail, bool(e.retry)), plain]


def _told(error: BaseException) -> str:
    """An exception in words, also one that cannot say what it is."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be had)"
    return _words(f"{name}: {text}" if text else name, "") or name


def _id(text: str) -> str:
    return quote(_text(text, "/id", False) if isinstance(text, str) else text, safe="")


def _seconds(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339.replace("Z", "+00:00")).timestamp()


# ---- the client ----


@dataclass(frozen=True)
class Event:
    """One event of a feed. ``id`` is the cursor after it; ``event`` is task, output, session, reset or live; ``data`` as in docs/api.md."""

    id: str
    event: str
    data: Object


class Client:
    """A server and a credential: an API key, or a session, watch or worker token. Safe to share between threads."""

    def __init__(self, url: str, key: Optional[str] = None, *, timeout: float = 30.0, patience: float = 10.0, ssl_context: Optional[ssl.SSLContext] = None) -> None:
        """``timeout``: seconds without a byte after which a call counts as lost. ``patience``: how long calls are repeated while the server
        cannot be reached or says 503; 0 gives up at once."""
        self.sessions = Sessions(self)
        self.tasks = Tasks(self)
        self.patience = patience
        self._http = _Http(url, timeout, ssl_context)
        self._key = key

    def using(self, token: str) -> Client:
        """The same server and connections with another credential."""
        other = Client.__new__(Client)
        other.sessions, other.tasks = Sessions(other), Tasks(other)
        other.patience, other._http, other._key = self.patience, self._http, token
        return other

    def close(self) -> None:
        """Closes the connections that are kept for the next call. The client can be used again."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def request(self, method: str, path: str, body: Any = _KEEP, *, query: Optional[Object] = None, headers: Optional[Dict[str, str]] = None, wait: float = 0,
                patience: Optional[float] = None, abort: Optional[_Abort] = None) -> _Answer:
        """Any call of docs/api.md. ``body`` is sent as JSON; ``wait`` is for ``Prefer: wait``. Refusals are raised as Problem."""
        all_headers = {"Accept": "application/json", **(headers or {})}
        if self._key:
            all_headers["Authorization"] = f"Bearer {self._key}"
        if wait:
            all_headers["Prefer"] = f"wait={int(wait + 0.999)}"
        data = None
        if body is not _KEEP:
            data = body if isinstance(body, _Encoded) else _encode(body)
            all_headers["Content-Type"] = "application/json"
        given = {name: _text(value, f"?{name}", False) if isinstance(value, str) else value for name, value in _members(**(query or {})).items()}
        if given:
            path += "?" + urlencode(given)
        until = time.monotonic() + (self.patience if patience is None else patience)
        tries = 0
        while True:
            tries += 1
            pause = _pause(tries)
            try:
                answer = self._http.call(method, path, all_headers, data, wait, abort, fresh=tries > 1)
                if answer.status < 400:
                    return answer
                error: BowlineError = _problem(answer.status, answer.headers, answer.data)
                if not isinstance(error, Unavailable):
                    raise error
                pause = max(pause, min(error.retry_after or 0, 5.0))
            except _Stale:
                continue
            except ConnectionLost as e:
                error = e
            if abort is not None and abort.set or time.monotonic() + pause > until:
                raise error
            time.sleep(pause)

    def _post(self, path: str, body: Any, key: Optional[str] = None, **more: Any) -> _Answer:
        return self.request("POST", path, body, headers={"Idempotency-Key": _text(key, "/idempotency_key", False) if key else str(uuid.uuid4())}, **more)

    def _pages(self, path: str, query: Object) -> Iterator[Object]:
        after = None
        while True:
            page = self.request("GET", path, query={**query, "limit": 1000, "after": after}).json()
            yield from page["items"]
            after = page["next"]
            if after is None:
                return

    # -- queues --

    def claim(self, queue: str, max: int = 1, *, worker: Optional[str] = None, lease: Optional[float] = None, wait: float = 0, abort: Optional[_Abort] = None,
              patience: Optional[float] = None) -> List[Object]:
        """Up to ``max`` tasks of the queue, each with ``input`` and ``worker_token``; none if none came within ``wait`` (at most 60) seconds."""
        answer = self.request("POST", f"/v1/queues/{_id(queue)}/claim", _members(max=max, worker=_words(worker, "/worker"), lease=lease), wait=wait, abort=abort, patience=patience)
        return answer.json()["tasks"] if answer.status == 200 else []

    def release(self, queue: str, worker_token: str) -> None:
        """Gives a claimed task back unharmed; it keeps its place."""
        self._post(f"/v1/queues/{_id(queue)}/release", {"token": worker_token})

    def queues(self) -> Iterator[Object]:
        return self._pages("/v1/queues", {})

    # -- reports --

    def report(self, task: str, reports: Union[Object, List[Object]], *, token: Optional[str] = None, patience: Optional[float] = None) -> Object:
        """One report, or a list of them that counts as a whole or not at all; ``token`` is the worker token if this client has another credential."""
        client = self.using(token) if token else self
        return client.request("POST", f"/v1/tasks/{_id(task)}/reports", reports, patience=patience).json()

    def control(self, task: str, *, token: Optional[str] = None, after: Optional[int] = None, wait: float = 0, patience: Optional[float] = None) -> Object:
        """Whether the task is to stop, and what was answered, newer than version ``after``; waits up to ``wait`` (at most 60) seconds for it."""
        client = self.using(token) if token else self
        return client.request("GET", f"/v1/tasks/{_id(task)}/control", query={"after": after}, wait=wait, patience=patience).json()

    # -- watching --

    def watch(self, *, session: Optional[str] = None, task: Optional[str] = None, after: Optional[str] = None, output: bool = False, reconnect: bool = True) -> Iterator[Event]:
        """The feed of a session (``session``: its id, with an API key), of one task, or with neither of the session whose token this client has.

        First everything as it is, or what changed since the cursor ``after``; then ``live``; then each change as it happens. A lost connection is
        opened again with the last cursor, for as long as it takes, so nothing is missed and nothing told twice. The generator ends after a
        ``session`` event, when the task has ended, or when there is nothing to come; refusals are raised. ``reconnect=False`` ends it with the
        first connection. Closing the generator closes the connection."""
        if session is not None and task is not None:
            raise ValueError("a session or a task, not both")
        path = f"/v1/tasks/{_id(task)}/events" if task else f"/v1/sessions/{_id(session)}/events" if session else "/v1/session/events"
        if output and not task:
            path += "?output=1"
        cursor, tries, delay = after, 0, 2.0
        while True:
            connection = None
            try:
                connection, response = self._stream(path, cursor)
                if response is None:
                    return
                for fields in _sse(response):
                    cursor = fields.get("id", cursor)
                    if "retry" in fields:
                        delay = int(fields["retry"]) / 1000
                    if fields.get("event") == "problem":
                        raise _problem(json.loads(fields["data"])["status"], {"Retry-After": f"{delay:.0f}"}, fields["data"].encode())
                    if "event" in fields:
                        tries = 0
                        yield Event(cursor or "", fields["event"], json.loads(fields["data"]))
                        if fields["event"] == "session":
                            return
            except (OSError, http.client.HTTPException, Unavailable) as e:
                if isinstance(e, ssl.SSLCertVerificationError):
                    raise
                if not reconnect:
                    raise ConnectionLost(str(e)) from e
            finally:
                if connection is not None:
                    connection.close()
            if not reconnect:
                return
            tries += 1
            time.sleep(min(delay, _pause(tries)))

    def _stream(self, path: str, cursor: Optional[str]) -> Tuple[http.client.HTTPConnection, Optional[http.client.HTTPResponse]]:
        headers = {"Accept": "text/event-stream"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        if cursor is not None:
            headers["Last-Event-ID"] = cursor
        connection, _ = self._http.open(60.0, fresh=True)  # the server is never silent for longer than 15 s
        try:
            connection.request("GET", self._http.prefix + path, headers=headers)
            response = connection.getresponse()
            if response.status == 200:
                return connection, response
            if response.status == 204:
                return connection, None
            raise _problem(response.status, response.headers, response.read())
        except BaseException:
            connection.close()
            raise


def _sse(response: http.client.HTTPResponse) -> Iterator[Dict[str, str]]:
    """The blocks of an event stream. An unfinished one at the end is dropped: it comes again after the reconnect."""
    fields: Dict[str, str] = {}
    while True:
        line = response.readline()
        if not line.endswith(b"\n"):
            return
        text = line.decode("utf-8").rstrip("\r\n")
        if text:
            name, _, value = text.partition(":")
            if name:
                fields[name] = value[1:] if value.startswith(" ") else value
        elif fields:
            yield fields
            fields = {}


class Sessions:
    """``client.sessions``. ``key`` is the application's own session id."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, *, key: Optional[str] = None, user: Optional[str] = None, idle_timeout: Optional[float] = None, max_age: Optional[float] = None,
               metadata: Optional[Object] = None, idempotency_key: Optional[str] = None) -> Object:
        """A session with its ``token``; the active one of that ``key`` if there is one, in which case nothing else given is applied."""
        body = _members(key=key, user=user, idle_timeout=idle_timeout, max_age=max_age, metadata=metadata)
        return self._client._post("/v1/sessions", body, idempotency_key).json()

    def get(self, id: Optional[str] = None) -> Object:
        """The session; without ``id`` the one whose token this client has."""
        return self._client.request("GET", f"/v1/sessions/{_id(id)}" if id else "/v1/session").json()

    def touch(self, id: str) -> Object:
        """Restarts the idle clock."""
        return self._client._post(f"/v1/sessions/{_id(id)}/touch", {}).json()

    def rotate(self, id: str, *, key: Optional[str] = None, user: Optional[str] = None) -> Object:
        """For login: the same session with a new ``token``; every older one is dead. Perhaps a new ``key``, and a ``user`` if it had none."""
        return self._client._post(f"/v1/sessions/{_id(id)}/rotate", _members(key=key, user=user)).json()

    def merge(self, id: str, into: str) -> Object:
        """Moves every task to the other session and ends this one. Gives the other."""
        return self._client._post(f"/v1/sessions/{_id(id)}/merge", {"into": into}).json()

    def end(self, id: Optional[str] = None) -> Object:
        """Log-out. Each unfinished task is treated by its ``on_session_end``. Without ``id`` the session whose token this client has."""
        return self._client.request("DELETE", f"/v1/sessions/{_id(id)}" if id else "/v1/session").json()

    def list(self, *, user: Optional[str] = None, state: Optional[str] = None) -> Iterator[Object]:
        """All that fit, newest first, fetched page by page."""
        return self._client._pages("/v1/sessions", {"user": user, "state": state})


class Tasks:
    """``client.tasks``"""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, session: Union[str, Object], kind: str, *, title: Optional[str] = None, queue: Optional[str] = None, input: Json = None,
               on_session_end: Optional[str] = None, lease: Optional[float] = None, timeout: Optional[float] = None, deadline: Optional[float] = None,
               max_attempts: Optional[int] = None, backoff: Optional[float] = None, not_before: Optional[str] = None, ttl: Optional[float] = None,
               cancel_unwatched: Optional[float] = None, metadata: Optional[Object] = None, idempotency_key: Optional[str] = None) -> Object:
        """Starts a task for a session: its id, or ``{"key": …, "user": …}``. The answer has ``token`` (watch) and, without a ``queue``,
        ``worker_token``. With the same ``idempotency_key`` the same task is given again, for a day."""
        body = _members(session=session, kind=kind, title=_words(title, "/title"), queue=queue, input=input, on_session_end=on_session_end, lease=lease, timeout=timeout,
                        deadline=deadline, max_attempts=max_attempts, backoff=backoff, not_before=not_before, ttl=ttl, cancel_unwatched=cancel_unwatched,
                        metadata=metadata)
        return self._client._post("/v1/tasks", body, idempotency_key).json()

    def start(self, kind: str, *, title: Optional[str] = None, input: Json = None, idempotency_key: Optional[str] = None) -> Object:
        """With a session's token: starts a task of a kind that sessions may start themselves."""
        return self._client._post("/v1/session/tasks", _members(kind=kind, title=_words(title, "/title"), input=input), idempotency_key).json()

    def get(self, id: str) -> Object:
        return self._client.request("GET", f"/v1/tasks/{_id(id)}").json()

    def wait(self, id: str, timeout: Optional[float] = None, *, until: Optional[Callable[[Object], bool]] = None) -> Object:
        """Waits until the task has ended, or ``until`` says so of it, and gives it. TimeoutError after ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        task = self.get(id)
        while task["state"] not in ENDED and not (until and until(task)):
            left = 30.0 if end is None else min(30.0, end - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"{id} is {task['state']}")
            answer = self._client.request("GET", f"/v1/tasks/{_id(id)}", headers={"If-None-Match": f'"{task["version"]}"'}, wait=left)
            if answer.status == 200:
                task = answer.json()
        return task

    def result(self, id: str) -> Json:
        """The result. NotFinished while it is under way, Conflict with ``task-failed`` or ``task-cancelled`` when there is none."""
        answer = self._client.request("GET", f"/v1/tasks/{_id(id)}/result")
        if answer.status == 202:
            raise NotFinished(answer.json())
        return answer.json()

    def input(self, id: str) -> Json:
        return self._client.request("GET", f"/v1/tasks/{_id(id)}/input").json()

    def output(self, id: str, offset: int = 0, *, wait: float = 0) -> Tuple[int, bytes, bool]:
        """(offset of the first byte given, bytes, whether no more can come)."""
        answer = self._client.request("GET", f"/v1/tasks/{_id(id)}/output", query={"offset": offset}, wait=wait, headers={"Accept": "*/*"})
        return int(answer.headers["Bowline-Output-Offset"]), answer.data, answer.headers.get("Bowline-Output-Complete") == "true"

    def follow_output(self, id: str, offset: int = 0) -> Iterator[bytes]:
        """Output as it comes, until no more can."""
        while True:
            start, data, complete = self.output(id, offset, wait=30)
            if data:
                yield data
            offset = start + len(data)
            if complete and not data:
                return

    def cancel(self, id: str, reason: Optional[str] = None) -> Object:
        """Asks the worker to stop; a queued task is cancelled at once. Conflict with ``task-ended`` on a finished one."""
        return self._client._post(f"/v1/tasks/{_id(id)}/cancel", _members(reason=_words(reason, "/reason"))).json()

    def answer(self, id: str, request: str, answer: Json) -> Object:
        """Answers the question whose id is ``task["input_request"]["id"]``."""
        return self._client._post(f"/v1/tasks/{_id(id)}/answer", {"request": request, "answer": answer}).json()

    def seen(self, id: str) -> Object:
        """A person has seen its end (with a session or watch token)."""
        return self._client._post(f"/v1/tasks/{_id(id)}/seen", {}).json()

    def bind(self, id: str, session: Union[str, Object]) -> Object:
        """Moves the task to another session. Gives it with its new ``token``."""
        return self._client._post(f"/v1/tasks/{_id(id)}/bind", {"session": session}).json()

    def token(self, id: str) -> str:
        """The current watch token."""
        return self._client.request("POST", f"/v1/tasks/{_id(id)}/token", {}).json()["token"]

    def delete(self, id: str) -> None:
        """Forgets a finished task before its ttl."""
        try:
            self._client.request("DELETE", f"/v1/tasks/{_id(id)}", patience=0)
        except (ConnectionLost, Unavailable):
            try:
                self._client.request("DELETE", f"/v1/tasks/{_id(id)}")
            except Gone:
                pass  # the first try had done it

    def list(self, *, session: Optional[str] = None, user: Optional[str] = None, state: Optional[str] = None, kind: Optional[str] = None,
             queue: Optional[str] = None) -> Iterator[Object]:
        """All that fit, newest first, fetched page by page."""
        return self._client._pages("/v1/tasks", {"session": session, "user": user, "state": state, "kind": kind, "queue": queue})

    def own(self, *, state: Optional[str] = None, kind: Optional[str] = None) -> Iterator[Object]:
        """With a session's token: its tasks."""
        return self._client._pages("/v1/session/tasks", {"state": state, "kind": kind})


# ---- doing the work ----

_OUTPUT_PIECE = 256 * 1024
_OUTPUT_WAITING = 1024 * 1024
_REPORT_PAUSE_S = 0.1
_HEARTBEAT_MAX_S = 5.0


class Job:
    """One attempt at a task, as the function that does it sees it. Its methods may be called from any thread.

    ``task`` is the task as it was claimed, ``input`` its input. Reporting never waits for the network: a thread sends the newest progress, the
    output and, when there is nothing to say, heartbeats. While the server is away all of it is kept and sent afterwards. Once the task is to
    stop, ``progress``, ``output``, ``ask``, ``sleep`` and ``check`` raise Cancelled, Superseded or Released; a function that does not want
    exceptions is registered with ``raise_on_cancel=False`` and looks at ``cancelled``."""

    def __init__(self, client: Client, task: Object, token: str, raise_on_cancel: bool = True) -> None:
        self.task = task
        self.input: Json = task.get("input")
        self.stopping = threading.Event()  # set once the work need not go on, for whatever reason
        self._client = client.using(token)
        self._id, self._token, self._raises = task["id"], token, raise_on_cancel
        self._changed = threading.Condition()
        self._pid = os.getpid()
        self._progress: Dict[str, bytes] = {}  # not sent yet, as JSON
        self._known: Dict[str, bytes] = {}  # as said last
        self._output = bytearray()
        self._offset = 0
        self._cancelled = False
        self._lost: Optional[Stopped] = None
        self._error: Optional[Problem] = None
        self._finals: Optional[List[bytes]] = None  # the end, and what is said in its place if the server does not take it
        self._over = False
        self._silence_s = 0.0  # until the first answer: say something at once
        self._asking = threading.Lock()
        self._asked: Optional[str] = None
        self._sender = threading.Thread(target=self._send_all, name=f"bowline-{self._id}", daemon=True)
        self._sender.start()

    # -- for the function --

    @property
    def cancelled(self) -> bool:
        """Somebody wants the task to stop, or nobody waits for this attempt any more."""
        return self.stopping.is_set()

    def check(self) -> None:
        """Raises if the task is to stop, and if the server refused what was reported before."""
        with self._changed:
            error, self._error = self._error, None
        if error is not None:
            raise error
        if self._lost is not None:
            raise self._lost
        if self._cancelled and self._raises:
            raise Cancelled()

    def sleep(self, seconds: float) -> None:
        """Sleeps, but not on when the task is to stop."""
        self.stopping.wait(seconds)
        self.check()

    def progress(self, current: Optional[float] = _KEEP, total: Optional[float] = _KEEP, *, unit: Optional[str] = _KEEP, message: Optional[str] = _KEEP,
                 phase: Optional[str] = _KEEP, data: Json = _KEEP) -> None:
        """Members left out keep their values, None clears one. Call it as often as you like: the newest state is sent, ten times a second.

        ``phase`` is what the numbers speak of (1 to 80 characters): another one than before begins anew, without numbers, unit, message and data.
        ``data`` is anything more, any JSON up to 4 KiB. Numbers may be of any type. A ``message`` is cut at 500 characters, and what is no text for
        people in it (names of files that are not UTF-8) becomes U+FFFD; whatever else cannot be sent raises Unsendable."""
        given: Object = {}
        if current is not _KEEP:
            given["current"] = _amount(current, "/current")
        if total is not _KEEP:
            given["total"] = _amount(total, "/total")
        if unit is not _KEEP:
            given["unit"] = _words(unit, "/unit", 0, 32)
        if message is not _KEEP:
            words = _words(message, "/message")
            given["message"] = words and words[:500]
        if phase is not _KEEP:
            given["phase"] = _words(phase, "/phase", 1, 80)
        said = {name: _compact(value) for name, value in given.items()}
        if data is not _KEEP:
            said["data"] = _encode(data, "/data", mend=True)
        self.check()
        with self._changed:
            self._say_progress(said)
            self._changed.notify_all()

    def output(self, data: Union[str, bytes]) -> None:
        """Output for people, a build log say. Waits only while more than 1 MiB has not been sent yet. Names of files come out with the bytes they have."""
        if isinstance(data, str):
            try:
                data = data.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                data = _text(data, "", True).encode("utf-8")
        self.check()
        with self._changed:
            while len(self._output) > _OUTPUT_WAITING and not self.stopping.is_set() and not self._over:
                self._changed.wait()
            self._output += data
            self._changed.notify_all()
        self.check()

    def ask(self, prompt: str, schema: Optional[Object] = None, *, timeout: Optional[float] = None) -> Json:
        """Asks the person, waits for the answer and gives it. Neither lease nor timeout run meanwhile. TimeoutError after ``timeout`` seconds; the
        question then stays open until the next one or the end."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._asking:
            said = self._ask_once({"type": "input_request", "prompt": _words(prompt, "/prompt"), **_members(schema=schema)})
            while said["state"] == "input_required":
                self._heard(said)
                self._check_asking()
                left = 20.0 if end is None else min(20.0, end - time.monotonic())
                if left <= 0:
                    raise TimeoutError(f"nobody answered: {prompt}")
                said = self._insist(lambda: self._client.control(self._id, after=said["version"], wait=left, patience=0))
            self._heard(said)
            self._check_asking()
            if not said["answer"]:
                raise Superseded()
            with self._changed:
                self._silence_s = 0.0  # the lease runs again
                self._changed.notify_all()
            self._asked = said["answer"]["request"]
            return said["answer"]["answer"]

    # -- inside --

    def _say_progress(self, said: Dict[str, bytes]) -> None:
        """Another phase leaves nothing of what was said before. That is said of each member, since the server may never hear of a phase that was short."""
        phase = said.get("phase")
        if phase is not None and phase != self._known.get("phase", b"null"):
            self._known = {name: b"null" for name in self._known}
            self._progress = {**self._known}
        self._known.update(said)
        self._progress.update(said)

    def _check_asking(self) -> None:
        self.check()
        if self._cancelled:
            raise Cancelled()  # there is no answer to return

    def _ask_once(self, question: Object) -> Object:
        """A question whose answer got lost must not be asked twice: it may have been answered meanwhile."""
        unsure = False
        while True:
            try:
                if unsure:
                    said = self._client.control(self._id, patience=0)
                    if said["state"] == "input_required" or (said["answer"] and said["answer"]["request"] != self._asked):
                        return said
                return self._client.report(self._id, question, patience=0)
            except (ConnectionLost, Unavailable):
                unsure = True
            except (Unauthenticated, NotFound, Gone, Conflict):
                self._stop(Superseded())
            self._check_asking()
            self.stopping.wait(1.0)

    def _insist(self, call: Callable[[], Object]) -> Object:
        while True:
            try:
                return call()
            except (ConnectionLost, Unavailable):
                pass
            except (Unauthenticated, NotFound, Gone, Conflict):
                self._stop(Superseded())
            self._check_asking()
            self.stopping.wait(1.0)

    def _stop(self, why: Stopped) -> None:
        with self._changed:
            self._lost = self._lost or why
            self.stopping.set()
            self._changed.notify_all()

    def _heard(self, said: Object, date: Optional[str] = None) -> None:
        with self._changed:
            if said["cancel_requested"]:
                self._cancelled = True
                self.stopping.set()
                self._changed.notify_all()
        if date is None:
            return
        self._silence_s = _HEARTBEAT_MAX_S
        if said["lease_until"]:
            try:
                # The server's own clock, whole seconds rounded down: never longer than the lease is.
                lease_s = _seconds(said["lease_until"]) - email.utils.parsedate_to_datetime(date).timestamp() - 1.0
            except (TypeError, ValueError):
                lease_s = 3.0
            self._silence_s = min(_HEARTBEAT_MAX_S, max(lease_s / 3, 0.1))

    def _take(self, last_sent: float) -> Optional[Tuple[Dict[str, bytes], bytes]]:
        """Waits for something to say: (progress, a piece of output), both empty for a heartbeat. None when all has been said."""
        with self._changed:
            while self._lost is None:
                now = time.monotonic()
                news = bool(self._progress or self._output)
                if self._finals is not None and not news:
                    return None
                due = last_sent + (_REPORT_PAUSE_S if news else self._silence_s)
                if now >= due or (news and self._finals is not None):
                    break
                self._changed.wait(due - now)
            if self._lost is not None:
                return None
            progress, self._progress = self._progress, {}
            return progress, bytes(self._output[:_OUTPUT_PIECE])

    def _send_all(self) -> None:
        """Says all that there is to say, then the end. Whatever goes wrong on the way, it goes on."""
        tries, last_sent = 0, -1e9
        while True:
            taken = self._take(last_sent)
            if taken is None:
                break
            last_sent = time.monotonic()
            try:
                self._say(*taken)
                tries = 0
            except Exception as e:
                with self._changed:
                    self._progress = {**taken[0], **self._progress}
                tries += 1
                self._rest(tries, e)
        self._send_final()

    def _say(self, progress: Dict[str, bytes], piece: bytes) -> None:
        reports = []
        if piece:
            reports.append(self._output_report(piece))
        if progress:
            reports.append(b'{"type":"progress",' + b",".join(b'"%s":%s' % (name.encode(), value) for name, value in progress.items()) + b"}")
        try:
            self._send(b"[" + b",".join(reports) + b"]" if len(reports) > 1 else reports[0] if reports else b'{"type":"heartbeat"}')
        except Problem as e:
            if _passing(e):
                raise
            if piece and progress:  # the server has taken neither: the other one still counts
                self._say({}, piece)
                self._say(progress, b"")
                return
            with self._changed:
                self._error = e
            at_fault = {pointer.split("/")[1] for pointer in e.pointers if pointer.count("/")}
            rest = {name: value for name, value in progress.items() if name not in at_fault}
            if rest and len(rest) < len(progress):
                self._say(rest, b"")
        if piece:
            with self._changed:
                del self._output[:len(piece)]
                self._changed.notify_all()

    def _output_report(self, piece: bytes) -> bytes:
        try:
            return _compact({"type": "output", "data": piece.decode("utf-8"), "offset": self._offset})
        except UnicodeDecodeError:
            return _compact({"type": "output", "data_base64": base64.b64encode(piece).decode("ascii"), "offset": self._offset})

    def _send(self, body: bytes) -> None:
        try:
            answer = self._client.request("POST", f"/v1/tasks/{_id(self._id)}/reports", _Encoded(body), patience=0)
        except (Unauthenticated, NotFound, Gone):
            self._stop(Superseded())
            return
        except Conflict as e:
            if e.code in ("attempt-superseded", "task-ended"):
                self._stop(Superseded())
                return
            raise
        said = answer.json()
        self._heard(said, answer.headers.get("Date"))
        self._offset = said["output_offset"]

    def _send_final(self) -> None:
        """Says the end until it is heard: said twice it counts once."""
        tries, own = 0, False
        while self._lost is None and self._finals:
            try:
                self._send(self._finals[0])
                return
            except Exception as e:
                if not isinstance(e, Problem) or _passing(e):
                    tries += 1
                    self._rest(tries, e)
                    continue
                _note(logging.ERROR, "the end of %s was refused: %s", self._id, e)
                del self._finals[0]
                if not self._finals and not own:
                    own = True
                    self._finals.append(_failure(e.code or "refused", str(e)))

    def _rest(self, tries: int, why: Exception) -> None:
        if tries == 1:
            _note(logging.INFO if isinstance(why, (ConnectionLost, Problem)) else logging.WARNING, "reporting on %s: %s", self._id, _told(why))
        with self._changed:
            if self._lost is None:
                self._changed.wait(_pause(tries))

    def _finish(self, finals: Optional[List[bytes]]) -> None:
        with self._changed:
            self._finals = finals or []
            self._changed.notify_all()
        self._sender.join()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _do(self, function: Callable[[Job], Json]) -> Optional[BaseException]:
        """Runs the function and tells what came of it, whatever that was. Gives what is not for a worker to keep to itself: SystemExit and its like."""
        kept: Optional[BaseException] = None
        try:
            finals = [b'{"type":"succeed","result":' + _encode(function(self), "/result", mend=True) + b"}"]
            with self._changed:
                self._error = None
        except BaseException as e:
            if os.getpid() != self._pid:
                raise  # of a fork: the end is the parent's to tell
            kept = None if isinstance(e, (Exception, Stopped)) else e
            finals = self._finals_of(e)
        if os.getpid() == self._pid:
            self._finish(finals)
        return kept

    def _finals_of(self, e: BaseException) -> Optional[List[bytes]]:
        """What an exception says of the end."""
        if isinstance(e, Cancelled):
            return [b'{"type":"cancelled"}']
        if isinstance(e, Stopped) and self._lost is not None:
            return None  # nobody is to be told
        if isinstance(e, Fail):
            return _fail(e)
        _note(logging.ERROR, "%s failed", self._id, error=e)
        type = {SystemExit: "exit", KeyboardInterrupt: "interrupted"}.get(e.__class__, "exception")
        return [_failure(type, _told(e), retry=True)]


@dataclass
class _Queue:
    name: str
    handlers: Dict[Optional[str], Tuple[Callable[[Job], Json], bool]]
    concurrency: int
    lease: Optional[float]
    running: int = 0


class Worker:
    """Claims tasks and does them, each in a thread of its own, at most ``concurrency`` per queue.

    A function returns the result; raising Fail or Retry fails the attempt, any other exception (sys.exit() too) fails it as well and lets another
    attempt follow if the task has one left. ``run`` works until SIGTERM or SIGINT, then claims nothing more, lets what runs finish for ``drain`` seconds and gives
    the rest back. A server that is away is waited for. ``start`` and ``stop`` are for programs that have a main loop of their own."""

    def __init__(self, client: Client, *, concurrency: int = 4, name: Optional[str] = None, drain: float = 30.0) -> None:
        self.client, self.concurrency, self.drain = client, concurrency, drain
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._queues: Dict[str, _Queue] = {}
        self._changed = threading.Condition()
        self._wake: queue.SimpleQueue = queue.SimpleQueue()  # safe to put into from a signal handler
        self._signals = 0
        self._stopping = False
        self._stop_lock = threading.Lock()
        self._stopped = False
        self._fatal: Optional[BaseException] = None
        self._jobs: Dict[Job, _Queue] = {}
        self._aborts: List[_Abort] = []
        self._threads: List[threading.Thread] = []

    def task(self, queue: str, kind: Optional[str] = None, *, concurrency: Optional[int] = None, lease: Optional[float] = None, raise_on_cancel: bool = True) -> Callable[[Callable[[Job], Json]], Callable[[Job], Json]]:
        """Decorator: this function does the tasks of that queue, or those of one ``kind`` in it. ``lease`` replaces the tasks' own."""

        def register(function: Callable[[Job], Json]) -> Callable[[Job], Json]:
            entry = self._queues.setdefault(queue, _Queue(queue, {}, self.concurrency, None))
            if kind in entry.handlers:
                raise ValueError(f"the tasks of {queue} have a function already")
            entry.handlers[kind] = (function, raise_on_cancel)
            entry.concurrency = concurrency or entry.concurrency
            entry.lease = lease if lease is not None else entry.lease
            return function

        return register

    def run(self) -> None:
        """Works until SIGTERM, SIGINT or ``stop``. Signals are taken over only when called in the main thread. A second signal gives everything
        back at once. Raises if the server refuses this worker's credential."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                before[number] = signal.signal(number, lambda *_: self._on_signal())
        try:
            self.start()
            self._wake.get()
            self.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._fatal is not None:
            raise self._fatal

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals > 1:
            self.drain = 0.0
        self._wake.put(None)

    def start(self) -> None:
        """Begins to claim, in threads, and returns."""
        if not self._queues:
            raise ValueError("this worker has no function for any queue")
        if self._threads:
            raise RuntimeError("this worker has been started already")
        for entry in self._queues.values():
            abort = _Abort()
            self._aborts.append(abort)
            thread = threading.Thread(target=self._claim_all, args=(entry, abort), name=f"bowline-claim-{entry.name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, drain: Optional[float] = None) -> None:
        """Claims nothing more, waits up to ``drain`` seconds for what runs, gives back the rest, and returns."""
        if drain is not None:
            self.drain = drain
        self._wake.put(None)
        with self._stop_lock:
            if not self._stopped:
                self._stop()
                self._stopped = True

    def _stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for abort in self._aborts:
            abort.abort()
        for thread in self._threads:
            thread.join()
        begun = time.monotonic()
        with self._changed:
            while self._jobs and time.monotonic() - begun < self.drain:
                self._changed.wait(0.2)
            left = list(self._jobs.items())
        for job, entry in left:
            job._stop(Released())
            self._give_back(entry, job._id, job._token)
        with self._changed:
            end = time.monotonic() + 1.0
            while self._jobs and time.monotonic() < end:
                self._changed.wait(end - time.monotonic())

    def _claim_all(self, entry: _Queue, abort: _Abort) -> None:
        tries = 0
        while True:
            with self._changed:
                while entry.running >= entry.concurrency and not self._stopping:
                    self._changed.wait()
                free = entry.concurrency - entry.running
                if self._stopping:
                    return
            try:
                tasks = self.client.claim(entry.name, min(free, 1000), worker=self.name, lease=entry.lease, wait=30, abort=abort, patience=0)
                tries = 0
            except Exception as e:
                if self._stopping:
                    return
                if isinstance(e, Problem) and e.status < 500 and not isinstance(e, Limited):
                    self._fatal = e
                    self._wake.put(None)
                    return
                tries += 1
                _note(logging.WARNING if tries == 1 else logging.DEBUG, "claiming from %s: %s", entry.name, _told(e))
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, _pause(tries))
                continue
            for task in tasks:
                self._begin(entry, task)

    def _begin(self, entry: _Queue, task: Object) -> None:
        token = task.pop("worker_token")
        if self._stopping:
            self._give_back(entry, task["id"], token)
            return
        function, raises = entry.handlers.get(task["kind"]) or entry.handlers.get(None) or (_no_function, True)
        job: Optional[Job] = None
        try:
            job = Job(self.client, task, token, raises)
            with self._changed:
                entry.running += 1
                self._jobs[job] = entry
            threading.Thread(target=self._perform, args=(entry, job, function), name=f"bowline-job-{task['id']}", daemon=True).start()
        except Exception as e:  # no more threads, say
            _note(logging.ERROR, "%s is given back: %s", task["id"], _told(e))
            if job is not None:
                job._stop(Released())
                self._done(entry, job)
            self._give_back(entry, task["id"], token)
            time.sleep(1.0)

    def _perform(self, entry: _Queue, job: Job, function: Callable[[Job], Json]) -> None:
        try:
            job._do(function)
        finally:
            self._done(entry, job)

    def _done(self, entry: _Queue, job: Job) -> None:
        with self._changed:
            if self._jobs.pop(job, None) is not None:
                entry.running -= 1
            self._changed.notify_all()

    def _give_back(self, entry: _Queue, task: str, token: str) -> None:
        try:
            self.client.release(entry.name, token)
        except BowlineError as e:
            _note(logging.WARNING, "%s could not be given back: %s", task, e)


def _no_function(job: Job) -> Json:
    raise Retry(f"this worker has no function for tasks of kind {job.task['kind']}", type="unknown-kind")


def perform(client: Client, task: str, worker_token: str, function: Callable[[Job], Json], *, raise_on_cancel: bool = True) -> bool:
    """Does one task that has no queue, here and now: for jobs that come from a queue of your own with the task's ``id`` and ``worker_token``.
    False if the attempt was over before it was through. SystemExit and KeyboardInterrupt go on from here once the task's end has been told."""
    input = client.using(worker_token).tasks.input(task)
    job = Job(client, {"id": task, "input": input}, worker_token, raise_on_cancel)
    kept = job._do(function)
    if kept is not None:
        raise kept
    return job._lost is None
