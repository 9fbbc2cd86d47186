#!/usr/bin/env bash
# Fetch the source archive of the installed ESPnet release and link its scripts.
#
# The wheel has no egs2/, the archive has; but it drops the links that a recipe
# directory keeps to egs2/TEMPLATE/asr1, so they are made here.
set -euo pipefail

archive=${1:-}
version=$(python3 -c 'from importlib.metadata import version; print(version("espnet"))' \
    2>/dev/null) || {
    echo "error: python3 ($(command -v python3)) has no espnet; activate the environment" \
        "of the package (in a checkout: make venv && source .venv/bin/activate)" >&2
    exit 1
}
root=downloads/espnet-$version
template=egs2/TEMPLATE/asr1

if [ -z "$archive" ]; then
    archive=downloads/espnet-$version.tar.gz
    if [ ! -f "$root/.unpacked" ] && [ ! -f "$archive" ]; then
        mkdir -p downloads
        echo "fetching the source archive of ESPnet $version (36 MB)"
        python3 -m pip download --quiet --disable-pip-version-check --no-deps \
            --no-binary :all: --dest downloads "espnet==$version" \
            >downloads/pip.log 2>&1 || {
            echo "error: pip could not fetch espnet $version: $(tail -n 1 downloads/pip.log)" \
                "(log: downloads/pip.log); check the network, or download" \
                "espnet-$version.tar.gz elsewhere and give --espnet-archive FILE" >&2
            exit 1
        }
    fi
elif [ ! -f "$archive" ]; then
    echo "error: --espnet-archive $archive: no such file" >&2
    exit 1
fi

if [ ! -f "$root/.unpacked" ]; then
    mkdir -p downloads
    tar -xzf "$archive" -C downloads
    if [ ! -x "$root/$template/asr.sh" ]; then
        echo "error: $archive holds no espnet-$version/$template/asr.sh; the source" \
            "archive of the installed release is espnet-$version.tar.gz" >&2
        exit 1
    fi
    touch "$root/.unpacked"
fi

ln -sfn "espnet-$version" downloads/espnet
for name in asr.sh scripts utils pyscripts steps; do
    ln -sfn "downloads/espnet/$template/$name" $name
done
