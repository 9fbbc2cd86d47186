#!/usr/bin/env bash
# Seven recordings, seven systems, their tables. Options go to run_all.sh.
set -euo pipefail
cd "$(dirname "$0")"

# one batch holds the whole training set: 20 steps are called an epoch
exec ./run_all.sh --jobs 2 --train_set train --valid_set train --test_sets 'train test' \
    --asr_args '--num_iters_per_epoch 20 --scheduler_conf first_cycle_steps=160 --scheduler_conf warmup_steps=20' \
    "$@"
