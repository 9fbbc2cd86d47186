#!/usr/bin/env bash
# The systems of the comparison: train, decode and score each, then one table.
# Options go to smoe.sh.
set -euo pipefail
cd "$(dirname "$0")"
. ./path.sh

options=(--nbpe 500 --test_sets test --inference_config conf/decode.yaml)
exps=()
# What run.sh prepared serves all of them.
[ -f exp/stats_train_bbpe500/train/feats_stats.npz ] ||
    ./smoe.sh "${options[@]}" --stop_stage 10 "$@"
for name in base decffnx2 decsmoe encdecsmoe espnet; do
    ./smoe.sh "${options[@]}" --asr_config "conf/tuning/train_$name.yaml" \
        --asr_tag "$name" --results "exp/$name/RESULTS.md" \
        --stage 11 --stop_stage 13 "$@"
    exps+=("exp/$name")
done
python3 -m espnet_smoe compare "${exps[@]}" --data dump/raw/test
