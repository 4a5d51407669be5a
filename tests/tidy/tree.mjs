// The files of the project, as git knows them: those that are tracked, and those that would be.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
    .split('\n')
    .filter((file) => file && existsSync(`${root}/${file}`))
    .sort();

export const filesBelow = (folder, pattern) => files.filter((file) => file.startsWith(`${folder}/`) && pattern.test(file));

export const read = (file) => readFileSync(`${root}/${file}`, 'utf8');
