#!/usr/bin/env bash
# Stage 1: AIHub's corpora into data/{train,dev,test...}, see --help.
set -euo pipefail

. ./path.sh
. ./db.sh
python=${PYTHON:-python3}

usage() {
    cat <<'END'
usage: local/data.sh --aihub PATH [--translate MODEL | --translate_command CMD] ...

English for the utterances that no corpus and no --parallel table has any for:
  --translate MODEL           Hugging Face seq2seq model, name or folder
  --translate_command CMD     program that reads Korean lines and writes English ones
  --translate_device DEVICE   auto (default), cpu or cuda
  --translate_batch_size N    sentences a batch
Without either they are trained on their transcript alone (<na> in text_st).

All other options go to the module:

END
    "$python" -m espnet_smoe.data.corpora aihub --help
}

options=()
translate=()
how=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help)
            usage
            exit
            ;;
        --translate | --translate_command | --translate_device | --translate_batch_size)
            [ $# -gt 1 ] || {
                echo "$0: $1 needs a value" >&2
                exit 2
            }
            case $1 in
                --translate) translate=(--model "$2") ;;
                --translate_command) translate=(--command "$2") ;;
                --translate_device) how+=(--device "$2") ;;
                --translate_batch_size) how+=(--batch-size "$2") ;;
            esac
            shift 2
            ;;
        *)
            options+=("$1")
            shift
            ;;
    esac
done

"$python" -m espnet_smoe.data.corpora --out data ${AIHUB:+--aihub "$AIHUB"} \
    ${FLEURS:+--fleurs "$FLEURS"} "${options[@]}"
[ ${#translate[@]} -gt 0 ] || exit 0
mapfile -t sets < data/.sets
for set in "${sets[@]}"; do
    "$python" local/translate.py --data "data/$set" "${translate[@]}" "${how[@]}"
done
