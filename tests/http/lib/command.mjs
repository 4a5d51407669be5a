// The program's client commands as processes: fed, watched, signalled, and on a terminal of their own.
import { spawn } from 'node:child_process';
import { after } from 'node:test';
import { until } from './client.mjs';
import { binary, cleanEnv } from './server.mjs';

const live = new Set();
process.on('exit', () => {
    for (const child of live) {
        child.kill('SIGKILL');
    }
});

export class Command {
    constructor(file, args, { env = {}, more = [] } = {}) {
        this.stdout = Buffer.alloc(0);
        this.err = '';
        this.child = spawn(file, args, { env: cleanEnv(env), stdio: ['pipe', 'pipe', 'pipe', ...more] });
        live.add(this.child);
        after(() => this.kill('SIGKILL'));
        this.child.stdout.on('data', (d) => (this.stdout = Buffer.concat([this.stdout, d])));
        this.child.stderr.on('data', (d) => (this.err += d));
        this.child.stdin.on('error', () => {});
        this.ended = new Promise((done, fail) => {
            this.child.on('error', fail);
            this.child.on('close', (code, signal) => {
                live.delete(this.child);
                done({ code, signal, out: this.out, err: this.err });
            });
        });
    }

    get out() {
        return this.stdout.toString('utf8');
    }

    get pid() {
        return this.child.pid;
    }

    write(text) {
        this.child.stdin.write(text);
    }

    /** No more standard input; resolves with how it ended. */
    end(text) {
        this.child.stdin.end(text);
        return this.ended;
    }

    kill(signal) {
        this.child.kill(signal);
    }

    untilOut(pattern) {
        return until(() => pattern.exec(this.out), `${pattern} on standard output`);
    }

    untilErr(pattern) {
        return until(() => pattern.exec(this.err), `${pattern} on standard error`);
    }
}

/** bowline with the server's URL and, unless told otherwise, its key. */
export function bowline(server, args, { env = {}, key = server.key } = {}) {
    return new Command(binary, args, { env: { BOWLINE_URL: server.url, ...(key ? { BOWLINE_KEY: key } : {}), ...env } });
}

/** The same started with standard descriptors closed, such as [0, 2]. */
export function bowlineWithout(server, closed, args, { env = {}, key = server.key } = {}) {
    const script = `exec "$0" "$@" ${closed.map((fd) => `${fd}>&-`).join(' ')}`;
    return new Command('sh', ['-c', script, binary, ...args], { env: { BOWLINE_URL: server.url, BOWLINE_KEY: key, ...env } });
}

// "ROWS COLUMNS" on descriptor 3 sets the size of the terminal.
const TERMINAL = `
import fcntl, os, pty, select, struct, sys, termios
def size(rows, columns):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
master, slave = pty.openpty()
size(int(sys.argv[1]), int(sys.argv[2]))
child = os.fork()
if child == 0:
    os.close(3)
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(slave, fd)
    os.execvp(sys.argv[3], sys.argv[3:])
os.close(slave)
sources = [0, 3, master]
while True:
    for fd in select.select(sources, [], [])[0]:
        try:
            data = os.read(fd, 65536)
        except OSError:
            data = b""
        if fd == master and not data:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) % 256)
        if not data:
            sources.remove(fd)
        elif fd == master:
            os.write(1, data)
        elif fd == 3:
            size(*map(int, data.split()))
        else:
            os.write(master, data)
`;

class Terminal extends Command {
    constructor(words, { rows, columns, env }) {
        super('python3', ['-c', TERMINAL, String(rows), String(columns), ...words], { env, more: ['pipe'] });
        this.ended.finally(() => this.child.stdio[3].destroy());
    }

    resize(rows, columns) {
        this.child.stdio[3].write(`${rows} ${columns}`);
    }
}

/** The same on a terminal: write() types keys, stdout is what it shows, and standard input stays open until it ends. */
export function onTerminal(server, words, { rows = 30, columns = 100, env = {} } = {}) {
    return new Terminal(words, { rows, columns, env: { BOWLINE_URL: server.url, BOWLINE_KEY: server.key, TERM: 'xterm', LC_ALL: 'C.UTF-8', ...env } });
}
