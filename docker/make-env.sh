#!/bin/sh
# Writes docker/.env from .env.example, with a random value for each secret. Keeps an existing docker/.env.
set -eu

cd "$(dirname "$0")"
target=${1:-.env}
if [ -e "$target" ]; then
    echo "$target is there already" >&2
    exit 1
fi

umask 077
while IFS= read -r line; do
    case "$line" in
        *_PASSWORD= | SECRET_KEY= | API_TOKEN_PEPPER=)
            line=$line$(od -An -vtx1 -N 32 /dev/urandom | tr -d ' \n')
            ;;
    esac
    printf '%s\n' "$line"
done <.env.example >"$target"
