#!/usr/bin/env bash
# One system learns the recordings by heart; options go to u2pp.sh. All: ./run_all.sh
set -euo pipefail
cd "$(dirname "$0")"

# one batch holds the whole training set: 20 steps are called an epoch
exec ./u2pp.sh --train_set train --valid_set train --test_sets 'train test' \
    --asr_args '--num_iters_per_epoch 20 --scheduler_conf first_cycle_steps=160 --scheduler_conf warmup_steps=20' \
    "$@"
