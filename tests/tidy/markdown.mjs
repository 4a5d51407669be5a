// What a Markdown file says beyond its words: its headings' anchors, its links, its tables. Code is none of it.

const withoutCode = (text) =>
    text
        .replace(/^( *)(```+)[^\n]*\n[\s\S]*?^\1\2 *$/gm, '')
        .replace(/^ {4,}.*$/gm, '');

const withoutCodeSpans = (text) => text.replace(/(`+)(?:(?!\1).)+\1/g, 'code');

// The anchors that can be linked to: those that are set, and those of headings: their text in lower case without punctuation, a hyphen for each
// space, a number where another had the same before.
export function anchors(text) {
    const seen = new Map();
    const set = [...text.matchAll(/<a id="([^"]+)">/g)].map(([, id]) => id);
    const headings = [...withoutCode(text).matchAll(/^#{1,6} +(.+?) *$/gm)].map(([, heading]) => {
        const anchor = heading
            .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
            .toLowerCase()
            .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
            .replaceAll(' ', '-');
        const before = seen.get(anchor) ?? 0;
        seen.set(anchor, before + 1);
        return before ? `${anchor}-${before}` : anchor;
    });
    return [...set, ...headings];
}

// Where its links and pictures lead.
export const links = (text) => [...withoutCodeSpans(withoutCode(text)).matchAll(/\]\(([^()\s]+)\)/g)].map(([, target]) => target);

// The cells of its tables, as written.
export const cells = (text) =>
    withoutCode(text)
        .split('\n')
        .filter((line) => line.startsWith('|'))
        .flatMap((line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim()));
