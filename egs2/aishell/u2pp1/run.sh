#!/usr/bin/env bash
# One system on AISHELL-1; options go to u2pp.sh. All seven: ./run_all.sh
#   ./run.sh --local_data_opts "--aishell /corpora/aishell" --ngpu 1
set -euo pipefail
cd "$(dirname "$0")"

configs='conf/decode_greedy.yaml conf/decode_prefix_beam.yaml'
configs+=' conf/decode_attention.yaml conf/decode_rescoring.yaml'
exec ./u2pp.sh --mandarin true --speed_perturb_factors '0.9 1.0 1.1' \
    --inference_config "$configs" --chunk_sizes '0 16 8 4' "$@"
