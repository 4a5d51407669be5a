// The reverse proxies of docs/proxies.md as processes: their configurations as they stand there, with nothing replaced but addresses, names and paths.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Agent, buildConnector } from 'undici';
import { Api, until } from '../../http/lib/client.mjs';
import { freePort } from '../../http/lib/ports.mjs';
import { cleanEnv, Server } from '../../http/lib/server.mjs';

const tests = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const MODULES = '/usr/lib/apache2/modules';

/** The blocks of a page of docs/ that have a file's name: a map from the name to the text. */
export function blocks(page) {
    const text = readFileSync(join(tests, '../docs', page), 'utf8');
    return new Map([...text.matchAll(/^```\w+ ([\w.-]+)\n([\s\S]*?)^```$/gm)].map(([, name, body]) => [name, body]));
}

const documented = blocks('proxies.md');

/** The rows of the table that follows a heading of docs/proxies.md, without its head: a list of lists of cells. */
export function table(heading) {
    const text = readFileSync(join(tests, '../docs/proxies.md'), 'utf8').split(`\n## ${heading}\n`)[1].split('\n## ')[0];
    return text.split('\n').filter((line) => line.startsWith('| ')).map((line) => line.slice(2, -2).split(' | ').map((cell) => cell.trim())).slice(2);
}

/** What is to be replaced must be there. */
function replaced(text, pairs) {
    for (const [from, to] of pairs) {
        assert.ok(text.includes(from), `the documentation has no ${JSON.stringify(from)}`);
        text = text.replaceAll(from, to);
    }
    return text;
}

const certificateIn = (p) => [
    ['/etc/ssl/app.example.pem', join(p.folder, 'certificate.pem')],
    ['/etc/ssl/private/app.example.key', join(p.folder, 'key.pem')],
];

function nginx(p, text) {
    const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${p.folder}/${name};`).join('\n');
    p.write('whole.conf', `daemon off;\nworker_processes 1;\npid ${p.folder}/nginx.pid;\nerror_log ${p.folder}/error.log;\nevents {}\nhttp {\n${paths}\naccess_log off;\n${text}}\n`);
    return ['nginx', '-p', p.folder, '-c', join(p.folder, 'whole.conf'), '-e', join(p.folder, 'error.log')];
}

/** For each: writes its files into the folder and gives its command. */
const PROGRAMS = {
    nginx(p) {
        return nginx(p, p.edited('nginx.conf', [...certificateIn(p), ['listen 443 ssl', `listen 127.0.0.1:${p.port} ssl`], ['/var/log/nginx', p.folder]]));
    },
    /** The part of one that guide-integration.md has. */
    guide(p) {
        const text = `server {\nlisten 127.0.0.1:${p.port} ssl http2;\nssl_certificate ${p.folder}/certificate.pem;\nssl_certificate_key ${p.folder}/key.pem;\n`
            + `${p.edited('location.conf', [], blocks('guide-integration.md'))}location / { proxy_pass http://${p.application}; }\n}\n`;
        return nginx(p, text);
    },
    haproxy(p) {
        const text = p.edited('haproxy.cfg', [['bind :443', `bind 127.0.0.1:${p.port}`], ['/etc/haproxy/app.example.pem', join(p.folder, 'both.pem')], ['log /dev/log local0', 'log stdout format raw local0']]);
        p.write('haproxy.cfg', text);
        return ['haproxy', '-db', '-f', join(p.folder, 'haproxy.cfg')];
    },
    caddy(p) {
        const ours = `{\n\tadmin off\n\thttp_port ${p.other}\n\thttps_port ${p.port}\n\tauto_https disable_redirects\n\tlocal_certs\n\tskip_install_trust\n\tdefault_bind 127.0.0.1\n\tstorage file_system ${p.folder}/storage\n\tlog {\n`;
        const text = p.edited('Caddyfile', [['{\n\tlog {\n', ours]]);
        p.write('Caddyfile', text);
        return ['caddy', 'run', '--adapter', 'caddyfile', '--config', join(p.folder, 'Caddyfile')];
    },
    apache(p) {
        const text = p.edited('bowline.conf', [...certificateIn(p), ['*:443', `127.0.0.1:${p.port}`], ['/etc/apache2', p.folder], ['/var/log/apache2', p.folder]]);
        const asked = /`a2enmod ([^`]*)`/.exec(readFileSync(join(tests, '../docs/proxies.md'), 'utf8'))[1].split(' ');
        const modules = new Set(['mpm_event', 'authz_core', 'dir', 'reqtimeout', 'setenvif', ...asked, ...p.modules].filter((m) => readdirSync(MODULES).includes(`mod_${m}.so`)));
        const load = [...modules].map((m) => `LoadModule ${m}_module ${MODULES}/mod_${m}.so\n`).join('');
        p.write('bowline-away.asis', documented.get('bowline-away.asis'));
        p.write('whole.conf', `${load}ServerName ${p.host}\nServerRoot ${p.folder}\nDefaultRuntimeDir ${p.folder}\nPidFile ${p.folder}/apache.pid\nErrorLog ${p.folder}/error.log\n`
            + `User www-data\nGroup www-data\nStartServers 1\nThreadsPerChild 25\nListen 127.0.0.1:${p.port}\n${text}`);
        return ['apache2', '-D', 'FOREGROUND', '-f', join(p.folder, 'whole.conf')];
    },
    node(p) {
        p.write('proxy.mjs', p.edited('proxy.mjs', [['listen(3000,', `listen(${p.port},`], ["'the application'", JSON.stringify(p.page)]]));
        symlinkSync(join(tests, 'node_modules'), join(p.folder, 'node_modules'));
        return ['node', join(p.folder, 'proxy.mjs')];
    },
};

export const PROXIES = Object.keys(PROGRAMS).filter((name) => name !== 'guide');

const running = new Set();
function signalGroup(child, signal) {
    try {
        process.kill(-child.pid, signal);
    } catch {
        // it has ended by itself
    }
}
process.on('exit', () => running.forEach((child) => signalGroup(child, 'SIGKILL')));

/** The application behind the proxy: every path is its page. */
export class Behind {
    constructor(page) {
        this.server = http.createServer((request, response) => {
            response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
            response.end(page);
        });
    }

    async start() {
        await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
        this.host = `127.0.0.1:${this.server.address().port}`;
        return this;
    }

    async close() {
        this.server.closeAllConnections();
        await new Promise((done) => this.server.close(done));
    }
}

/** A proxy that runs; to the clients of tests/http/lib it is a server. */
export class Proxy {
    /** replace: pairs of what stands in the documentation and what shall stand in its place; modules: more of Apache's. */
    static async named(name, { replace = [], modules = [] } = {}) {
        const p = new Proxy();
        Object.assign(p, { name, replace, modules, log: '', host: `${name}.example`, tls: name !== 'node', port: await freePort(), other: await freePort() });
        p.url = p.tls ? `https://${p.host}` : `http://127.0.0.1:${p.port}`;
        return p;
    }

    edited(file, places, from = documented) {
        const addresses = [['127.0.0.1:8787', this.bowline]];
        if (this.tls && from === documented) {
            addresses.push(['127.0.0.1:3000', this.application]);
        }
        return replaced(replaced(from.get(file), this.replace), [...addresses, ...places]).replaceAll('app.example', this.host);
    }

    write(file, text) {
        writeFileSync(join(this.folder, file), text);
    }

    /** bowline, application: "ADDRESS:PORT"; page: what an application within it answers. */
    async start(bowline, application, page) {
        Object.assign(this, { bowline, application, page });
        this.folder = mkdtempSync(join(tmpdir(), `bowline-${this.name}-`));
        chmodSync(this.folder, 0o755); // for the users that they become
        execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', `/CN=${this.host}`,
            '-addext', `subjectAltName=DNS:${this.host}`, '-keyout', join(this.folder, 'key.pem'), '-out', join(this.folder, 'certificate.pem')], { stdio: 'ignore' });
        this.write('both.pem', readFileSync(join(this.folder, 'certificate.pem')) + readFileSync(join(this.folder, 'key.pem')));
        mkdirSync(join(this.folder, 'home'));
        const [program, ...args] = PROGRAMS[this.name](this);
        const env = { PATH: `${process.env.PATH}:/usr/sbin`, HOME: join(this.folder, 'home'), XDG_CONFIG_HOME: join(this.folder, 'home'), XDG_DATA_HOME: join(this.folder, 'home') };
        this.child = spawn(program, args, { cwd: this.folder, env: cleanEnv(env), detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
        running.add(this.child);
        this.child.stdout.on('data', (d) => (this.log += d));
        this.child.stderr.on('data', (d) => (this.log += d));
        this.ended = new Promise((done) => {
            const end = () => {
                running.delete(this.child);
                this.over = true;
                done();
            };
            this.child.on('close', end);
            this.child.on('error', (e) => { // it could not be started
                this.log += `${e}\n`;
                end();
            });
        });
        await until(async () => {
            assert.ok(!this.over, `${this.name} ended:\n${this.logged()}`);
            return this.answers();
        }, `${this.name} to listen`);
        this.agent = new Agent({ connect: this.connector(), connections: 64, pipelining: 1, headersTimeout: 90000, bodyTimeout: 0 });
        return this;
    }

    answers() {
        return new Promise((done) => {
            const request = this.request(`${this.url}/`, { agent: false }, (response) => {
                response.resume();
                done(true);
            });
            request.on('error', () => done(false));
            request.end();
        });
    }

    connector() {
        const connect = buildConnector({ rejectUnauthorized: false });
        return (options, done) => connect({ ...options, hostname: '127.0.0.1', port: this.port, ...(this.tls ? { servername: this.host } : {}) }, done);
    }

    /** The cookie that carries a session's token. */
    cookie(token) {
        return `${this.tls ? '__Host-bowline' : 'bowline'}=${token}`;
    }

    /** What https.request and http.request take beside a URL, so that the proxy is reached under its name. */
    get reach() {
        const lookup = (name, { all }, done) => (all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4));
        return this.tls ? { port: this.port, rejectUnauthorized: false, servername: this.host, lookup } : {};
    }

    request(url, options, answered) {
        const headers = this.tls ? { host: this.host, ...options.headers } : options.headers;
        return (this.tls ? https : http).request(url, { ...options, ...this.reach, headers }, answered);
    }

    api(token) {
        return new Api(this, token);
    }

    /** All that it has written: standard output and error, and its files. */
    logged() {
        const files = readdirSync(this.folder).filter((name) => name.endsWith('.log'));
        return [this.log, ...files.map((name) => `== ${name}\n${readFileSync(join(this.folder, name), 'utf8')}`)].join('\n');
    }

    async close() {
        await this.agent?.destroy();
        if (this.child && !this.over) {
            this.child.kill('SIGTERM');
            const timer = setTimeout(() => signalGroup(this.child, 'SIGKILL'), 3000); // Apache waits for threads that wait
            await this.ended;
            clearTimeout(timer);
            signalGroup(this.child, 'SIGKILL');
        }
        if (this.folder) {
            rmSync(this.folder, { recursive: true, force: true });
        }
    }
}

/** What the documentation says to write where workers are outside. */
export function outside(name) {
    const [, to, from] = /write `([^`]*)` in place of `([^`]*)`/.exec(readFileSync(join(tests, '../docs/proxies.md'), 'utf8'));
    const spelt = (text) => (name === 'node' ? text.replaceAll('/', '\\/') : text);
    return { replace: [[`${spelt(from)})`, `${spelt(to)})`]] };
}

/** A proxy, given by its name or not yet started, a server behind it and an application beside that; run(world) and all of it is ended. */
export async function withProxy(which, run, { options = {}, page = 'the application', ...how } = {}) {
    const proxy = which instanceof Proxy ? which : await Proxy.named(which, how);
    const server = new Server({ public_url: proxy.url, ...options });
    const application = await new Behind(page).start();
    try {
        await server.start();
        await proxy.start(server.host, application.host, page);
        await run({ server, proxy, api: server.api() });
    } finally {
        await proxy.close();
        await server.close();
        await application.close();
    }
}
