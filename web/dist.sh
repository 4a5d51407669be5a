#!/bin/sh
# The files of the package, dist/: byte for byte what the program serves.
set -eu
cd "$(dirname "$0")"
rm -rf dist
mkdir dist
for file in sdk/*; do
    case $file in
    *.js) ./strip.sh "$file" > "dist/${file##*/}" ;;
    *) cp "$file" dist/ ;;
    esac
done
