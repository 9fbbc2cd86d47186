#!/usr/bin/env bash
# One system, from its corpus to its scores; options go to u2pp.sh. All: ./run_all.sh
set -euo pipefail
cd "$(dirname "$0")"

exec ./u2pp.sh --mandarin true "$@"
