#!/usr/bin/env bash
# One system, from its corpus to its scores; options go to smoe.sh. All: ./run_all.sh
set -euo pipefail
cd "$(dirname "$0")"

# what the driver calls this, where it tells what to try next
export RECIPE_COMMAND="./run.sh$([ $# -eq 0 ] || printf ' %q' "$@")"
exec ./smoe.sh --nbpe 500 --nbwb_share 0.3 --with_nbwb true "$@"
