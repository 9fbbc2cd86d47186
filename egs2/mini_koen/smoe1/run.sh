#!/usr/bin/env bash
# The whole recipe: corpus, training, decoding, scores. Options go to smoe.sh.
set -euo pipefail
cd "$(dirname "$0")"

begun=$(mktemp)
trap 'rm -f "$begun"' EXIT

./smoe.sh --nbpe 500 --test_sets test --nbwb_share 0.3 --asr_config conf/train.yaml \
    --inference_config conf/decode.yaml --stop_stage 13 "$@"

if [ RESULTS.md -nt "$begun" ]; then # written by this run, not by an earlier one
    echo
    cat RESULTS.md
    echo
    echo "The report is in $PWD/RESULTS.md"
fi
