#!/usr/bin/env bash
# One system on AISHELL-1; options go to ctc.sh. All seven: ./run_all.sh
#   ./run.sh --local_data_opts "--aishell /corpora/aishell" --ngpu 1
set -euo pipefail
cd "$(dirname "$0")"

exec ./ctc.sh --speed_perturb_factors '0.9 1.0 1.1' --lang_opts '--inventory full' "$@"
