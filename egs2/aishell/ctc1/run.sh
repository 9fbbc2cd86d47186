#!/usr/bin/env bash
# One system on AISHELL-1. Options go to ctc.sh:
#   ./run.sh --local_data_opts "--aishell /corpora/aishell" --ngpu 1
# All seven: ./run_all.sh --speed_perturb_factors '0.9 1.0 1.1' and the same options.
set -euo pipefail
cd "$(dirname "$0")"

exec ./ctc.sh --speed_perturb_factors '0.9 1.0 1.1' --lang_opts '--inventory full' \
    --inference_configs 'conf/decode.yaml conf/decode_greedy.yaml' --stop_stage 13 "$@"
