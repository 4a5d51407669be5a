#!/bin/sh
# A JavaScript module without its comments and indentation, which nobody should have to load. Comments stand on lines of their own or behind " // ".
exec sed -E 's/^[ \t]+//; /^\/\/( |$)/d; /^\/\*\*.*\*\/$/d; s/[ \t]+\/\/ .*$//; /^$/d' "$1"
