#!/bin/sh
# Asks a server that runs already: guesthouse serve &
set -eu
got=$(curl -sS "${URL:-http://127.0.0.1:8080}/")
want='Hello from {{name}}. You asked for /'
if [ "$got" != "$want" ]; then
    printf 'got:  %s\nwant: %s\n' "$got" "$want" >&2
    exit 1
fi
echo passed
