// Ports for programs that have to be told one. The system hands out those from 32768 on, so that nobody comes upon these by chance.
import { createServer } from 'node:net';

const FIRST = 20000;
const COUNT = 12000;
let next = process.pid * 16; // another start for each process

function isFree(port) {
    return new Promise((done) => {
        const socket = createServer();
        socket.on('error', () => done(false));
        socket.listen(port, '127.0.0.1', () => socket.close(() => done(true)));
    });
}

export async function freePort() {
    for (;;) {
        const port = FIRST + (next++ % COUNT);
        if (await isFree(port)) {
            return port;
        }
    }
}
