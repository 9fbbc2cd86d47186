#!/usr/bin/env bash
# Stage 1: speak the corpus into data/{train,dev,test} and write data/lm_text; options
# go to make_corpus.py.
set -euo pipefail

. ./path.sh
"${PYTHON:-python3}" local/make_corpus.py --out data --wav-dir data/wav "$@"
