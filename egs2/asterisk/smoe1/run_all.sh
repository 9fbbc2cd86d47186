#!/usr/bin/env bash
# Five systems on the same prompts: train, decode and score each; then their table, and
# what the experts of EncDecS-MoE do.
#   ./run_all.sh --seeds '1 2 3'
# --jobs systems are trained side by side, --systems leaves some out. Other options go to
# run.sh. A system whose RESULTS.md exists is not made again.
#   ./run_all.sh --whisper 'whisper-base whisper-small'
# decodes these Whisper models too, as they come.
#   ./run_all.sh --start whisper-base --expdir exp_whisper --dumpdir dump_whisper
# begins all systems with the weights and tokens of this one, and conf/whisper. Each is a
# folder of Hugging Face or CTranslate2, or a .pt of OpenAI beside its vocabulary.
set -euo pipefail
cd "$(dirname "$0")"
. ./path.sh

systems='base decffnx2 decsmoe encdecsmoe declanguage'
inference_config=
whisper=
start=
own='inference_config whisper start'
taken=pretrained_model
. ../../TEMPLATE/systems.sh
. ../../TEMPLATE/smoe_systems.sh
if [ -z "$inference_config" ]; then
    inference_config=conf/decode.yaml
    [ -z "$start" ] || inference_config=conf/decode_whisper.yaml # it has no CTC
fi
decode_by "$inference_config"
compare_options=(--every-condition)
import_options=(--language es) # utt2lang names that of each utterance

before() { # with --start: the weights of Whisper, its blocks copied into the experts
    more=()
    [ -n "$start" ] || return 0
    local init=$expdir/$1_seed$2/init.pth
    python3 -m espnet_smoe upcycle "$expdir/start" --out "$init" \
        --config "$configs/train_$1.yaml" || return 1
    more=(--pretrained_model "$init")
}

begin_with_whisper
prepare base
make_all "$systems"
whispers_as_they_come

compare table "Experts by task, by bandwidth and by language" "$decoding" '*' \
    base decffnx2 decsmoe encdecsmoe declanguage
report

experts encdecsmoe '*' --ctc-weight "${ctc_weight:-0}"
