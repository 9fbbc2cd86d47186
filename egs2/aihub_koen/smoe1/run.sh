#!/usr/bin/env bash
# One system, from the corpora to its scores; options go to smoe.sh. All: ./run_all.sh
#   ./run.sh --local_data_opts '--aihub /corpora/aihub' --ngpu 8
# Every set that stage 1 names test* or eval* is decoded (--test_sets), and the cosine is
# made as long as the training (--schedule).
set -euo pipefail
cd "$(dirname "$0")"

exec ./smoe.sh --nbpe 40000 --nbwb_share 0.15 --test_sets '' \
    --schedule local/schedule.py "$@"
