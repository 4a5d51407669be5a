#!/bin/sh
# Writes the files that the program itself serves as a C source: embed.sh FILE ... OUTPUT. Each plain, and compressed by gzip and by Brotli.
set -eu

here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

types() { # file
    case $1 in
    *.js) echo 'text/javascript; charset=utf-8' ;;
    *.d.ts) echo 'application/typescript; charset=utf-8' ;;
    *) echo "embed.sh: no type is known for $1" >&2; exit 1 ;;
    esac
}

bytes() { # name; the bytes on standard input
    echo "static const unsigned char $1[] = {"
    od -An -v -tx1 | sed 's/ \(..\)/0x\1,/g'
    echo '};'
}

row() { # member, name
    echo "     .$1 = {(const char *) $2, sizeof $2},"
}

for output; do :; done
rows=$work/rows
{
    echo '#include "api/web_files.h"'
    number=0
    while [ $# -gt 1 ]; do
        type=$(types "$1")
        name=${1##*/} served=$work/${1##*/}
        case $name in
        *.js) "$here/strip.sh" "$1" > "$served" ;;
        *) cp "$1" "$served" ;;
        esac
        bytes "plain_$number" < "$served"
        gzip -9nc "$served" | bytes "gzip_$number"
        brotli -q 11 -c "$served" | bytes "brotli_$number"
        {
            echo "    {.path = \"/$name\","
            echo "     .type = \"$type\","
            echo "     .tag = \"$(sha256sum < "$served" | cut -c 1-32)\","
            row plain "plain_$number"
            row gzip "gzip_$number"
            row brotli "brotli_$number"
            echo '    },'
        } >> "$rows"
        number=$((number + 1))
        shift
    done
    echo 'const struct web_file web_files[] = {'
    cat "$rows"
    echo '};'
    echo 'const unsigned web_file_count = sizeof web_files / sizeof *web_files;'
} > "$output"
