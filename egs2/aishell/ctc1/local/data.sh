#!/usr/bin/env bash
# Stage 1: AISHELL-1, and AISHELL-2's dev set, into data/{train,dev,test,...}.
#
# local/data.sh --aishell /corpora/aishell [--aishell2 /corpora/AISHELL-DEV-TEST-SET]
set -euo pipefail

. ./path.sh
exec "${PYTHON:-python3}" -m espnet_smoe.data.corpora.aishell --out data "$@"
