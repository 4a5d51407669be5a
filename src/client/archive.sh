#!/bin/sh
# archive.sh IN.a OUT.a: joins the objects of IN into one and makes its hidden symbols local.
set -eu
object=$2.o
ld -r --whole-archive "$1" -o "$object"
objcopy --localize-hidden "$object"
rm -f "$2"
ar rcsD "$2" "$object"
rm -f "$object"
