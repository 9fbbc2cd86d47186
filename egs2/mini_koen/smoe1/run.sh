#!/usr/bin/env bash
# The whole recipe: corpus, training, decoding, scores. Options go to smoe.sh.
set -euo pipefail
cd "$(dirname "$0")"

./smoe.sh --nbpe 500 --test_sets test --nbwb_share 0.3 --asr_config conf/train.yaml \
    --inference_config conf/decode.yaml --stop_stage 13 "$@"
