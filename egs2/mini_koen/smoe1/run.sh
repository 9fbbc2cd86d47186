#!/usr/bin/env bash
# The whole recipe: corpus, training, decoding, scores. Options go to smoe.sh.
set -euo pipefail
cd "$(dirname "$0")"

# what the driver calls this, where it tells what to try next
export RECIPE_COMMAND="./run.sh$([ $# -eq 0 ] || printf ' %q' "$@")"
exec ./smoe.sh --nbpe 500 --test_sets test --nbwb_share 0.3 --asr_config conf/train.yaml \
    --inference_config conf/decode.yaml "$@"
