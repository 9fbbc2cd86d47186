#!/usr/bin/env bash
# One system, from its corpus to its scores; options go to ctc.sh. All: ./run_all.sh
set -euo pipefail
cd "$(dirname "$0")"

exec ./ctc.sh --lm_text data/lm_text "$@"
