#!/usr/bin/env bash
# Train, decode and score one U2++ model: one model for streams and for whole utterances.
# The stages have the numbers of ESPnet's asr.sh.
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
chunk_sizes='0 16'          # decode each with chunks of so many frames; 0: no chunks
asr_args=                   # more options for training, such as '--max_epoch 3'
asr_tag=                    # name of the experiment (default: from asr_config)
inference_model=valid.acc.ave.pth # the checkpoint to decode and pack
pretrained_model=           # start from these weights: FILE or FILE:SRC:DST
allow_changes=false         # true: stage 11 goes on although what it trains from changed
speed_perturb_factors=      # such as '0.9 1.0 1.1' (default: none)
skip_bad=false              # true: leave bad utterances out instead of stopping
min_seconds=0.1             # leave out shorter audio (training and validation)
max_seconds=30              # leave out longer audio
token_type=char             # char, bpe or syllable (of Mandarin, scored as SER)
ntoken=0                    # tokens of char or bpe, special ones included; char: 0 for all
mandarin=false              # true: texts become plain characters, and CER is scored
ngpu=0                      # GPUs (of each node)
num_nodes=1                 # nodes for training; more than one needs slurm
nj=2                        # processes for data, statistics and decoding
dumpdir=dump                # prepared data
expdir=exp                  # statistics, models, results
tokendir=data/token_list    # tokens
python=python3              # the interpreter
results=                    # where stage 13 writes the tables (default: RESULTS.md of the experiment)
local_data_opts=            # options for local/data.sh
# options end

stages='1 data, 2 speed perturbation, 3 format, 4 filter, 5 tokens, 10 statistics, 11 train, 12 decode, 13 score, 14 pack'
whole='stage stop_stage ngpu num_nodes nj ntoken'
switches='skip_bad mandarin allow_changes'
. "$(dirname "$(readlink -f "$0")")/../stages.sh"

[[ $token_type =~ ^(char|bpe|syllable)$ ]] ||
    die "--token_type '$token_type' is not char, bpe or syllable"
[ "$token_type" != bpe ] || [ "$ntoken" -gt 0 ] || die "--token_type bpe needs --ntoken"
for size in $chunk_sizes; do
    [[ $size =~ ^[0-9]+$ ]] || die "--chunk_sizes '$size' is not a whole number"
done

# Names that follow from the options.
perturbed=$train_set
[ -z "$speed_perturb_factors" ] || perturbed=${train_set}_sp
org=$dumpdir/raw/org
train_dir=$dumpdir/raw/$perturbed
valid_dir=$dumpdir/raw/$valid_set
tokens=$token_type${ntoken#0}
token_dir=$tokendir/$tokens
token_files=$token_dir/tokens.txt
text=text
task=asr
token_options="--token_type $token_type --token_list $token_files"
if [ "$token_type" = syllable ]; then
    text=text_syllable
    task=units
    token_options="--token_type word --token_list $token_files"
elif "$mandarin"; then
    text=text_plain
    task=words
fi
if [ "$token_type" = bpe ]; then
    token_options+=" --bpemodel $token_dir/bpe.model"
    token_files+=" $token_dir/bpe.model"
fi
stats_dir=$expdir/stats_${perturbed}_$tokens
asr_tag=${asr_tag:-$(stem "$asr_config")_$tokens${speed_perturb_factors:+_sp}}
asr_exp=$expdir/$asr_tag
results=${results:-$asr_exp/RESULTS.md}

# Which files feed the model, and how: for stages 10 and 11.
data_options() { # data_options train|valid DIRECTORY
    for triplet in wav.scp,speech,sound "$text,text,text"; do
        echo "--${1}_data_path_and_name_and_type $2/$triplet"
    done
}
model_options() {
    echo "--config $asr_config --use_preprocessor true $token_options"
}

skip=()
! "$skip_bad" || skip=(--skip-bad)

! runs 1 || local_data

! runs 2 || [ -z "$speed_perturb_factors" ] || speed_perturb

! runs 3 || format_audio

! runs 4 || filter_by_length

if runs 5; then
    log "Stage 5: tokens of type $token_type"
    lock "$dumpdir"
    need 4 "$train_dir/text" "$valid_dir/text"
    if [ "$token_type" = syllable ]; then
        sets=("$valid_dir")
        for set in $test_sets; do
            need 4 "$dumpdir/raw/$set/text"
            sets+=("$dumpdir/raw/$set")
        done
        $python -m espnet_smoe.data.text.syllables --train "$train_dir" --lang "$token_dir" \
            --sets "${sets[@]}" "${skip[@]}"
    else
        [ "$text" = text ] ||
            $python -m espnet_smoe.data.text.plain_text "$train_dir" "$valid_dir"
        kind=$token_type
        [ "$kind" = char ] || kind=sentencepiece
        $python -m espnet_smoe.data.text.tokens --text "$train_dir/$text" --type "$kind" \
            --size "$ntoken" --special --out "$token_dir"
    fi
fi

! runs 10 || collect_statistics

! runs 11 || train

if runs 12; then
    log "Stage 12: decode $test_sets"
    need 11 "$asr_exp/config.yaml" "$asr_exp/$inference_model"
    lock "$asr_exp"
    for config in $inference_configs; do
        [ -f "$config" ] || die "--inference_configs: $config does not exist"
    done
    where=(--nj "$nj")
    [ "$ngpu" -eq 0 ] || where=(--device cuda) # one process keeps a GPU busy
    for set in $test_sets; do
        need 4 "$dumpdir/raw/$set/wav.scp"
        # shellcheck disable=SC2086
        $decode_cmd --gpu "$ngpu" "$asr_exp/decode_$set.log" \
            $python -m espnet_smoe.inference.decode.u2pp \
            --train-config "$asr_exp/config.yaml" \
            --model-file "$asr_exp/$inference_model" --config $inference_configs \
            --chunk-size $chunk_sizes --task $task --data "$dumpdir/raw/$set" \
            --out "$asr_exp" "${where[@]}"
        log "decoded $set: $asr_exp/decode_*/$set"
    done
fi

if runs 13; then
    log "Stage 13: score $asr_exp"
    lock "$asr_exp"
    tables=()
    for set in $test_sets; do
        decoded=()
        for config in $inference_configs; do
            for size in $chunk_sizes; do
                [ "$size" -gt 0 ] && size=chunk$size || size=full
                decoded+=("$asr_exp/decode_$(decoding "$config")_$size/$set")
            done
        done
        need 12 "${decoded[@]/%//decode.json}"
        $python -m espnet_smoe score --data "$dumpdir/raw/$set" --hyp "${decoded[@]}"
        $python -m espnet_smoe.report.tables.decoding_table "$asr_exp" --test-set "$set" \
            --out "$asr_exp/modes_$set.md"
        tables+=("$asr_exp/modes_$set.md")
    done
    $python -m espnet_smoe.report.tables.results --comparison "${tables[@]}" \
        --out "$results" --command "${command% }"
fi

! runs 14 || pack

log "done"
