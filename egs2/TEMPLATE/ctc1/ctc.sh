#!/usr/bin/env bash
# Train, decode and score one CTC model of Mandarin syllables, with an n-gram language
# model and a decoding graph. The stages have the numbers of ESPnet's asr.sh.
set -euo pipefail

# Options: each is NAME=DEFAULT  # what it does. --NAME VALUE sets it.
# options begin
stage=1                     # first stage to run
stop_stage=100              # last stage to run
train_set=train             # name of the training set under data/
valid_set=dev               # name of the validation set
test_sets=test              # names of the test sets, separated by spaces
asr_config=conf/train.yaml  # configuration of model and training
inference_configs=conf/decode.yaml # configurations of decoding, separated by spaces
asr_args=                   # more options for training, such as '--max_epoch 3'
asr_tag=                    # name of the experiment (default: from asr_config)
inference_model=valid.loss_ctc.ave.pth # the checkpoint to decode
pretrained_model=           # start from these weights: FILE or FILE:SRC:DST
allow_changes=false         # true: stage 11 goes on although what it trains from changed
speed_perturb_factors=      # such as '0.9 1.0 1.1' (default: none)
skip_bad=false              # true: leave bad utterances out instead of stopping
min_seconds=0.1             # leave out shorter audio (training and validation)
max_seconds=30              # leave out longer audio
lang_opts=                  # options for stage 5, such as '--inventory full'
lm_text=                    # files of more text for the language model, a sentence a line
arpa=                       # a language model to use instead of training one
lm_order=5                  # n of the n-gram model
lm_prune=1e-8               # prune what changes the model by less, 0 for nothing
ngpu=0                      # GPUs (of each node)
num_nodes=1                 # nodes for training; more than one needs slurm
nj=2                        # processes for data, statistics and decoding
dumpdir=dump                # prepared data
expdir=exp                  # statistics, models, results
langdir=data/lang           # units, lexicon, language model, graph
python=python3              # the interpreter
results=                    # where stage 13 writes the tables (default: RESULTS.md of the experiment)
local_data_opts=            # options for local/data.sh
# options end

stages='1 data, 2 speed perturbation, 3 format, 4 filter, 5 syllables and lexicon, 6 language model, 7 perplexity, 8 decoding graph, 10 statistics, 11 train, 12 decode, 13 score'
whole='stage stop_stage ngpu num_nodes nj lm_order'
switches='skip_bad allow_changes'
. "$(dirname "$(readlink -f "$0")")/../stages.sh"

# Names that follow from the options.
perturbed=$train_set
[ -z "$speed_perturb_factors" ] || perturbed=${train_set}_sp
org=$dumpdir/raw/org
train_dir=$dumpdir/raw/$perturbed
valid_dir=$dumpdir/raw/$valid_set
token_files=$langdir/tokens.txt
lm=${arpa:-$langdir/lm.arpa}
graph=$langdir/graph
stats_dir=$expdir/stats_$perturbed
asr_tag=${asr_tag:-$(stem "$asr_config")}
asr_exp=$expdir/$asr_tag
results=${results:-$asr_exp/RESULTS.md}

# Which files feed the model, and how: for stages 10 and 11.
data_options() { # data_options train|valid DIRECTORY
    for triplet in wav.scp,speech,sound text_syllable,text,text; do
        echo "--${1}_data_path_and_name_and_type $2/$triplet"
    done
}
model_options() {
    echo "--config $asr_config --use_preprocessor true"
    echo "--token_type word --token_list $langdir/tokens.txt"
}

skip=()
! "$skip_bad" || skip=(--skip-bad)

! runs 1 || local_data

! runs 2 || [ -z "$speed_perturb_factors" ] || speed_perturb

! runs 3 || format_audio

! runs 4 || filter_by_length

if runs 5; then
    log "Stage 5: syllables, words and their readings"
    lock "$dumpdir"
    sets=()
    for set in $valid_set $test_sets; do
        need 4 "$dumpdir/raw/$set/text"
        sets+=("$dumpdir/raw/$set")
    done
    # shellcheck disable=SC2086
    $python -m espnet_smoe.data.text.syllables --train "$train_dir" --sets "${sets[@]}" \
        --lang "$langdir" ${lm_text:+--lm-text $lm_text} "${skip[@]}" $lang_opts
fi

if runs 6 && [ -z "$arpa" ]; then
    log "Stage 6: $lm_order-gram language model"
    lock "$dumpdir"
    need 5 "$langdir/lm_train.txt" "$langdir/words.txt"
    $python -m espnet_smoe.lm.train --text "$langdir/lm_train.txt" --order "$lm_order" \
        --vocab "$langdir/words.txt" --prune "$lm_prune" --out "$lm"
fi

if runs 7; then
    log "Stage 7: perplexity of $lm"
    need 6 "$lm"
    for set in $valid_set $test_sets; do
        need 5 "$langdir/lm_$set.txt"
        $python -m espnet_smoe.lm.perplexity --arpa "$lm" --text "$langdir/lm_$set.txt"
    done
fi

if runs 8; then
    log "Stage 8: decoding graph $graph"
    lock "$dumpdir"
    need 5 "$langdir/tokens.txt" "$langdir/lexicon.txt"
    need 6 "$lm"
    $python -m espnet_smoe.inference.wfst.graph --tokens "$langdir/tokens.txt" \
        --lexicon "$langdir/lexicon.txt" --arpa "$lm" --out "$graph"
fi

! runs 10 || collect_statistics

! runs 11 || train

# decode_dir CONFIG: conf/decode_greedy.yaml -> exp/<tag>/decode_greedy
decode_dir() {
    echo "$asr_exp/decode_$(decoding "$1")"
}

if runs 12; then
    log "Stage 12: decode $test_sets"
    need 11 "$asr_exp/config.yaml" "$asr_exp/$inference_model"
    lock "$asr_exp"
    for config in $inference_configs; do
        [ -f "$config" ] || die "--inference_configs: $config does not exist"
        for set in $test_sets; do
            need 5 "$dumpdir/raw/$set/text_syllable"
            out=$(decode_dir "$config")/$set
            $decode_cmd --gpu "$ngpu" "$out/decode.log" \
                $python -m espnet_smoe.inference.decode.ctc \
                --train-config "$asr_exp/config.yaml" \
                --model-file "$asr_exp/$inference_model" --config "$config" \
                --graph "$graph" --data "$dumpdir/raw/$set" --out "$out" --nj "$nj"
            log "decoded $set: $out"
        done
    done
fi

if runs 13; then
    log "Stage 13: score $asr_exp"
    lock "$asr_exp"
    for config in $inference_configs; do
        for set in $test_sets; do
            out=$(decode_dir "$config")/$set
            need 12 "$out/decode.json"
            $python -m espnet_smoe score --data "$dumpdir/raw/$set" --hyp "$out"
        done
    done
    $python -m espnet_smoe.report.tables.results --exp "$asr_exp" --out "$results" \
        --command "${command% }"
fi

log "done"
