// A wall clock for the program under test that a test can step, and a machine that it can send to sleep; the machine's own clocks stay as they are.
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

export class Clock {
    /** aheadMs: how far the wall clock is ahead of the machine's at the start. */
    constructor(aheadMs = 0) {
        this.folder = mkdtempSync(join(tmpdir(), 'bowline-clock-'));
        const library = join(this.folder, 'step_clock.so');
        execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, join(here, 'step_clock.c'), '-ldl']);
        this.file = openSync(join(this.folder, 'steps'), 'w+');
        this.aheadMs = aheadMs;
        this.asleepMs = 0;
        this.#write();
        /** What start() takes as `how`. */
        this.how = { under: ['env', `STEP_CLOCK=${join(this.folder, 'steps')}`, `LD_PRELOAD=${library}`] };
    }

    #write() {
        const bytes = Buffer.alloc(16);
        bytes.writeBigInt64LE(BigInt(this.aheadMs), 0);
        bytes.writeBigInt64LE(BigInt(this.asleepMs), 8);
        writeSync(this.file, bytes, 0, 16, 0);
    }

    /** What the program's wall clock says. */
    now() {
        return Date.now() + this.aheadMs + this.asleepMs;
    }

    nowS() {
        return Math.floor(this.now() / 1000);
    }

    /** The wall clock is put forward, or back. */
    step(byMs) {
        this.aheadMs += byMs;
        this.#write();
    }

    /** The machine was asleep for so long. */
    sleep(ms) {
        this.asleepMs += ms;
        this.#write();
    }

    close() {
        closeSync(this.file);
        rmSync(this.folder, { recursive: true, force: true });
    }
}
