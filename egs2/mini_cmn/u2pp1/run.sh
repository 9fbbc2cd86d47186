#!/usr/bin/env bash
# The whole recipe: corpus, seven systems, their tables. Options go to run_all.sh.
set -euo pipefail
cd "$(dirname "$0")"

exec ./run_all.sh --jobs 2 --mandarin true "$@"
