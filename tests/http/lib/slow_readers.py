"""Readers that take what they are told to and no more, with small buffers in the kernel, which node cannot ask for.

usage: slow_readers.py PORT COUNT BYTES_A_SECOND

The first line of standard input is the request, as JSON text; each of COUNT connections sends it. Then commands, each answered with a line of JSON:

  look          for each reader: is it still connected, and how many bytes has it taken
  fast          from now on they take what there is
  find TEXT     for each reader: how often TEXT stands in what it has taken
  bodies        for each reader: all that it has taken

The end of standard input ends them all.
"""
import json
import select
import socket
import sys
import time

TICK_S = 0.25
SMALL_BYTES = 2048
LARGE_BYTES = 1 << 20


class Reader:
    def __init__(self, port, request):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(request)
        self.socket.setblocking(False)
        self.taken = bytearray()
        self.open = True

    def fileno(self):
        return self.socket.fileno()

    def take(self, size):
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.taken += data
        if not data:
            self.open = False
            self.socket.close()


class Readers:
    def __init__(self, port, count, bytes_a_second, request):
        self.all = [Reader(port, request) for _ in range(count)]
        self.portion = int(bytes_a_second * TICK_S)
        self.fast = False
        self.due_s = time.monotonic()

    def wait(self, also):
        """Lets them read as they may; true when there is something in `also`."""
        watched = [also] + ([r for r in self.all if r.open] if self.fast else [])
        left_s = max(0, self.due_s - time.monotonic())
        ready, _, _ = select.select(watched, [], [], None if self.fast or not self.portion else left_s)
        for reader in ready:
            if reader is not also:
                reader.take(LARGE_BYTES)
        if not self.fast and self.portion and time.monotonic() >= self.due_s:
            self.due_s = time.monotonic() + TICK_S
            for reader in self.all:
                if reader.open:
                    reader.take(self.portion)
        return also in ready

    def hurry(self):
        self.fast = True
        for reader in self.all:
            if reader.open:
                reader.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LARGE_BYTES)

    def command(self, name, text):
        if name == "look":
            return [{"open": r.open, "bytes": len(r.taken)} for r in self.all]
        if name == "fast":
            self.hurry()
            return None
        if name == "find":
            return [r.taken.count(text.encode()) for r in self.all]
        if name == "bodies":
            return [r.taken.decode() for r in self.all]
        raise ValueError(name)


def main():
    port, count, bytes_a_second = (int(a) for a in sys.argv[1:4])
    with open(0, "rb", buffering=0) as commands:
        rest = b""
        readers = None
        while True:
            if readers is None or readers.wait(commands):
                data = commands.read(65536)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if readers is None:
                        readers = Readers(port, count, bytes_a_second, json.loads(line).encode())
                        print("null", flush=True)
                    else:
                        name, _, text = line.decode().partition(" ")
                        print(json.dumps(readers.command(name, text)), flush=True)


main()
