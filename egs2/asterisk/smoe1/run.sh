#!/usr/bin/env bash
# One system, from Debian's packages to its scores; options go to smoe.sh. All: ./run_all.sh
set -euo pipefail
cd "$(dirname "$0")"

# what the driver calls this, where it tells what to try next
export RECIPE_COMMAND="./run.sh$([ $# -eq 0 ] || printf ' %q' "$@")"
exec ./smoe.sh --nbpe 300 --max_tokens 400 \
    --bpe_nlsyms '<transcribe> <translate> <en> <es> <fr> <it> <ru> <wb> <nb>' "$@"
