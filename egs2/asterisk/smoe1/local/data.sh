#!/usr/bin/env bash
# Stage 1: Debian's packages of Asterisk's prompts into data/{train,dev,test}, see --help.
set -euo pipefail

. ./path.sh
python=${PYTHON:-python3}
sums=local/sha256sums
debs=downloads
mine=false

usage() {
    cat <<'END'
usage: local/data.sh [--debs DIR] [--digits N] [--languages L...] ...

  --debs DIR   folder of the packages that local/sha256sums lists
               (default: apt-get download fetches them into downloads/)

All other options go to the module:

END
    "$python" -m espnet_smoe.data.corpora asterisk --help
}

fetch() { # the listed packages that are missing
    local file package version missing=()
    while read -r _ file; do
        IFS=_ read -r package version _ <<<"$file"
        [ -e "$debs/$file" ] || missing+=("$package=$version")
    done <$sums
    [ ${#missing[@]} -gt 0 ] || return 0
    mkdir -p "$debs"
    command -v apt-get >/dev/null || {
        echo "$0: no apt-get here: put the packages of $sums into a folder" \
            "(snapshot.debian.org has them) and give it with --debs" >&2
        exit 1
    }
    (cd "$debs" && apt-get download "${missing[@]}") || {
        echo "$0: apt-get could not fetch ${missing[0]} and others: run apt-get update, or" \
            "take them from snapshot.debian.org and give the folder with --debs" >&2
        exit 1
    }
}

options=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit ;;
        --debs)
            [ $# -gt 1 ] || { echo "$0: --debs needs a folder" >&2; exit 2; }
            debs=$2 mine=true
            shift 2 ;;
        *) options+=("$1"); shift ;;
    esac
done
"$mine" || fetch
[ -d "$debs" ] || { echo "$0: --debs $debs is no folder" >&2; exit 1; }
exec "$python" -m espnet_smoe.data.corpora asterisk "$debs" data --sums $sums "${options[@]}"
