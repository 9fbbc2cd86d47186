#!/usr/bin/env bash
# The five systems of the paper: train, decode and score each; then its two tables, and
# what the experts of EncDecS-MoE do.
#   ./run_all.sh --seeds '1 2 3'
# Base, DecFFNx2 and DecS-MoE learn from the whole training set. Base-NBWB and
# EncDecS-MoE go on from Base and DecS-MoE on its NB/WB subset. --jobs systems are trained
# side by side, --systems leaves some out. Other options go to run.sh. A system whose
# RESULTS.md exists is not made again.
#   ./run_all.sh --whisper 'whisper-base whisper-small'
# decodes these Whisper models too, as they come, beside the systems of both tables.
#   ./run_all.sh --start whisper-base
# begins all systems with the weights and tokens of this one, and conf/whisper. Each is a
# folder of Hugging Face or CTranslate2, or a .pt of OpenAI beside its vocabulary.
set -euo pipefail
cd "$(dirname "$0")"
. ./path.sh

systems='base decffnx2 decsmoe base_nbwb encdecsmoe'
inference_config=conf/decode.yaml
whisper=
start=
own='inference_config whisper start'
taken='on_nbwb with_nbwb pretrained_model'
. "$(dirname "$(readlink -f run_all.sh)")/../systems.sh"
. "$(dirname "$(readlink -f run_all.sh)")/../smoe_systems.sh"
decode_by "$inference_config"
compare_options=(--every-condition)

before() { # a fine-tuned system starts from a trained one
    local from tag=$1_seed$2
    more=(--with_nbwb false)
    case $1 in
        base_nbwb) from=$expdir/base_seed$2 more+=(--on_nbwb true) ;;
        encdecsmoe) from=$expdir/decsmoe_seed$2 more+=(--on_nbwb true) ;;
        *) from=${start:+$expdir/start} ;;
    esac
    [ -n "$from" ] || return 0
    python3 -m espnet_smoe upcycle "$from" --out "$expdir/$tag/init.pth" \
        --config "$configs/train_$1.yaml" || return 1
    more+=(--pretrained_model "$expdir/$tag/init.pth")
}

begin_with_whisper
prepare base --with_nbwb false
[ "$stage" -gt 10 ] || stage=10 prepare base --with_nbwb false --on_nbwb true
make_all 'base decffnx2 decsmoe'
make_all 'base_nbwb encdecsmoe'
whispers_as_they_come

compare table1 "Table 1: experts in the decoder" "$decoding" '!(*_nbwb)' base decffnx2 decsmoe
compare table2 "Table 2: fine-tuned on narrowband and wideband speech" "$decoding" '*_nbwb' \
    base_nbwb encdecsmoe base decsmoe
report

experts encdecsmoe '*_nbwb' --ctc-weight "${ctc_weight:-0}"
