#!/usr/bin/env bash
# Stage 1: AISHELL-1, and AISHELL-2's dev set, into data/{train,dev,test,...}.
#
# local/data.sh --aishell /corpora/aishell [--aishell2 /corpora/AISHELL-DEV-TEST-SET]
# Without these options db.sh says where they are.
set -euo pipefail

. ./path.sh
. ./db.sh
exec "${PYTHON:-python3}" -m espnet_smoe.data.corpora.aishell --out data \
    ${AISHELL:+--aishell "$AISHELL"} ${AISHELL2:+--aishell2 "$AISHELL2"} "$@"
