#!/usr/bin/env bash
# One system, from its corpus to its scores, in minutes: after eight epochs, which is too
# early to compare systems. Options go to ctc.sh. All of them until they are done, and the
# tables: ./run_all.sh
set -euo pipefail
cd "$(dirname "$0")"

exec ./ctc.sh --lm_text data/lm_text --asr_args '--max_epoch 8' "$@"
