// JSON Web Tokens as an application would mint them, and as an attacker would.
import { createHmac, sign as signWith } from 'node:crypto';

const part = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

export const nowS = () => Math.floor(Date.now() / 1000);

export function claims(more = {}) {
    const iat = more.iat ?? nowS();
    const all = { sid: 'jwt-session', aud: 'bowline', iat, exp: iat + 3600, ...more };
    for (const name of Object.keys(all)) {
        if (all[name] === undefined) {
            delete all[name];
        }
    }
    return all;
}

export function hs256(secret, payload, header = {}) {
    const text = `${part({ alg: 'HS256', typ: 'JWT', ...header })}.${part(payload)}`;
    return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

export function eddsa(privateKey, payload, header = {}) {
    const text = `${part({ alg: 'EdDSA', typ: 'JWT', ...header })}.${part(payload)}`;
    return `${text}.${signWith(null, Buffer.from(text), privateKey).toString('base64url')}`;
}

export function unsigned(payload) {
    return `${part({ alg: 'none', typ: 'JWT' })}.${part(payload)}.`;
}

/** The same token with one character of its signature changed. */
export function tampered(token) {
    const at = token.length - 10;
    return token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1);
}
