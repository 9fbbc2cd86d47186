#!/usr/bin/env bash
# Train, decode and score one model for speech recognition and translation.
# The stages have the numbers of ESPnet's asr.sh; everything they need is in pip.
set -euo pipefail

# Options: each is NAME=DEFAULT  # what it does. --NAME VALUE sets it.
# options begin
stage=1                     # first stage to run
stop_stage=100              # last stage to run
train_set=train             # name of the training set under data/
valid_set=dev               # name of the validation set
test_sets=test              # names of the test sets, separated by spaces
asr_config=conf/train.yaml  # configuration of model and training
inference_config=conf/decode.yaml # configuration of decoding
asr_args=                   # more options for training, such as '--max_epoch 3'
inference_args=             # more options for decoding
asr_tag=                    # name of the experiment (default: from asr_config)
inference_tag=              # name of the decoding (default: from inference_config)
inference_model=valid.acc.ave.pth # the checkpoint to decode and pack
pretrained_model=           # start from these weights: FILE or FILE:SRC:DST
allow_changes=false         # true: stage 11 goes on although what it trains from changed
speed_perturb_factors=      # such as '0.9 1.0 1.1' (default: none)
bandwidth=file              # file, auto or a label: see espnet-smoe prepare --help
bandwidths='nb wb'          # the bandwidth labels of the data
nbwb_share=                 # make *_nbwb sets too, of this share of training, such as 0.15; 0: none
on_nbwb=false               # true: stages 10 and 11 train on the *_nbwb sets
skip_bad=false              # true: leave bad utterances out instead of stopping
min_seconds=0.1             # leave out shorter audio (training and validation)
max_seconds=30              # leave out longer audio
max_tokens=120              # leave out longer texts
bpe_type=bbpe               # bbpe or sentencepiece
nbpe=40000                  # tokens, special ones included
special_tokens='<transcribe> <translate> <ko> <en> <wb> <nb>' # labels and prompts
ngpu=0                      # GPUs (of each node)
num_nodes=1                 # nodes for training; more than one needs slurm
nj=2                        # processes for data, statistics and decoding
dumpdir=dump                # prepared data
expdir=exp                  # statistics, models, results
tokendir=data/token_list    # subword models
python=python3              # the interpreter
results=                    # where stage 13 writes the tables (default: RESULTS.md of the experiment)
local_data_opts=            # options for local/data.sh
# options end

stages='1 data, 2 speed perturbation, 3 format, 4 filter, 5 tokens, 10 statistics, 11 train, 12 decode, 13 score, 14 pack'
whole='stage stop_stage ngpu num_nodes nj nbpe'
switches='skip_bad on_nbwb allow_changes'
. "$(dirname "$(readlink -f "$0")")/../stages.sh"

[[ $nbwb_share =~ ^(0(\.[0-9]*)?|\.[0-9]+|1(\.0*)?)?$ ]] ||
    die "--nbwb_share '$nbwb_share' is not a share between 0 and 1"
[[ $nbwb_share =~ [1-9] ]] || nbwb_share= # 0 is none
! "$on_nbwb" || [ -n "$nbwb_share" ] || die "--on_nbwb true needs --nbwb_share"

# Names that follow from the options.
perturbed=$train_set
[ -z "$speed_perturb_factors" ] || perturbed=${train_set}_sp
org=$dumpdir/raw/org
nbwb=${nbwb_share:+_nbwb}
train_sets="$perturbed $valid_set${nbwb:+ $perturbed$nbwb $valid_set$nbwb}"
decoded_sets=$test_sets
for set in $test_sets; do
    decoded_sets+=${nbwb:+ $set$nbwb}
done
trained=
! "$on_nbwb" || trained=$nbwb
train_dir=$dumpdir/raw/$perturbed$trained
valid_dir=$dumpdir/raw/$valid_set$trained
token_dir=$tokendir/$bpe_type$nbpe
bpemodel=$token_dir/bpe.json
[ "$bpe_type" = bbpe ] || bpemodel=$token_dir/bpe.model
token_files="$token_dir/tokens.txt $bpemodel"
stats_dir=$expdir/stats_$perturbed${trained}_$bpe_type$nbpe
asr_tag=${asr_tag:-$(stem "$asr_config")_$bpe_type$nbpe${speed_perturb_factors:+_sp}}
asr_exp=$expdir/$asr_tag
results=${results:-$asr_exp/RESULTS.md}
inference_tag=${inference_tag:-$(stem "$inference_config")}
inference_tag=${inference_tag#decode} # conf/decode_beam1.yaml: beam1
inference_tag=${inference_tag#_}
inference_tag=${inference_tag:-default}
decode_dir=$asr_exp/decode_$inference_tag

# Which files feed the model, and how: for stages 10 and 11.
data_options() { # data_options train|valid DIRECTORY
    local triplet
    for triplet in wav.scp,speech,sound text,text,text text_st,text_st,text \
        utt2bandwidth,bandwidth,text; do
        echo "--${1}_data_path_and_name_and_type $2/$triplet"
    done
}
model_options() {
    echo "--config $asr_config --use_preprocessor true --allow_variable_data_keys true"
    echo "--token_type bpe --bpemodel $bpemodel --token_list $token_dir/tokens.txt"
}

! runs 1 || local_data

! runs 2 || [ -z "$speed_perturb_factors" ] || speed_perturb

if runs 3; then
    log "Stage 3: format: check every utterance, audio to 16 kHz mono 16-bit"
    lock "$dumpdir"
    [ -z "$speed_perturb_factors" ] || need 2 "data/$perturbed/wav.scp"
    skip=()
    ! "$skip_bad" || skip=(--skip-bad)
    format() { # format SOURCE SET
        # shellcheck disable=SC2086
        $python -m espnet_smoe.data.prepare --in "$1" --out "$org/$2" \
            --nj "$nj" --bandwidth "$bandwidth" --labels $bandwidths \
            --min-seconds 0 --max-seconds 0 "${skip[@]}"
    }
    failed=()
    for set in $perturbed $valid_set $test_sets; do
        need 1 "data/$set/wav.scp"
        format "data/$set" "$set" || failed+=("$set")
    done
    [ ${#failed[@]} -eq 0 ] || writable "$dumpdir" || die "stage 3 stopped"
    [ ${#failed[@]} -eq 0 ] || die "stage 3 stopped: bad data in ${failed[*]}"
    if [ -n "$nbwb_share" ]; then
        # A share of training and all of validation, each utterance in one of five
        # channel conditions; every test utterance in each of them.
        log "Stage 3: narrowband and wideband conditions"
        for set in $perturbed $valid_set $test_sets; do
            case $set in
                "$perturbed") which=(--share "$nbwb_share") ;;
                "$valid_set") which=(--share 1) ;;
                *) which=(--every) ;;
            esac
            $python -m espnet_smoe.data.speech.channel --in "$org/$set" \
                --out "$dumpdir/raw/channel/$set" --nj "$nj" "${which[@]}"
            format "$dumpdir/raw/channel/$set" "$set$nbwb"
        done
    fi
fi

filter() { # filter SET [more options]
    local set=$1
    shift
    $python -m espnet_smoe.data.filter --in "$org/$set" --out "$dumpdir/raw/$set" \
        --min-seconds "$min_seconds" --max-seconds "$max_seconds" \
        --max-tokens "$max_tokens" "$@"
}

if runs 4; then
    log "Stage 4: filter by length"
    lock "$dumpdir"
    for set in $train_sets; do
        need 3 "$org/$set/wav.scp"
        filter "$set"
    done
    for set in $decoded_sets; do # a test set stays whole, or its scores would flatter
        need 3 "$org/$set/wav.scp"
        filter "$set" --min-seconds 0 --max-seconds 0
    done
fi

if runs 5; then
    log "Stage 5: $nbpe $bpe_type tokens from the transcripts and translations"
    lock "$dumpdir"
    texts=$dumpdir/raw/$perturbed
    need 4 "$texts/text" "$valid_dir/text"
    # shellcheck disable=SC2086
    $python -m espnet_smoe.data.text.tokens --text "$texts/text" "$texts/text_st" \
        --type "$bpe_type" --size "$nbpe" --special $special_tokens --out "$token_dir"
    for set in $train_sets; do # now that tokens can be counted
        filter "$set" --bpemodel "$bpemodel"
    done
fi

! runs 10 || collect_statistics

! runs 11 || train

if runs 12; then
    log "Stage 12: decode $decoded_sets"
    where=(--nj "$nj")
    [ "$ngpu" -eq 0 ] || where=(--device cuda) # one process keeps a GPU busy
    need 11 "$asr_exp/config.yaml" "$asr_exp/$inference_model"
    lock "$asr_exp"
    [ -f "$inference_config" ] || die "--inference_config $inference_config does not exist"
    for set in $decoded_sets; do
        need 4 "$dumpdir/raw/$set/wav.scp"
        # shellcheck disable=SC2086
        $decode_cmd --gpu "$ngpu" "$decode_dir/$set/decode.log" \
            $python -m espnet_smoe.inference.decode.smoe \
            --train-config "$asr_exp/config.yaml" \
            --model-file "$asr_exp/$inference_model" \
            --config "$inference_config" --data "$dumpdir/raw/$set" \
            --out "$decode_dir/$set" "${where[@]}" $inference_args
        log "decoded $set: $decode_dir/$set"
    done
fi

score() { # stage 13
    for set in $decoded_sets; do
        need 12 "$decode_dir/$set/decode.json"
        $python -m espnet_smoe score --data "$dumpdir/raw/$set" --hyp "$decode_dir/$set"
    done
    $python -m espnet_smoe.report.tables.results --exp "$asr_exp" --out "$results" \
        --command "${command% }"
}

if runs 13; then
    log "Stage 13: score $decode_dir"
    lock "$asr_exp"
    if runs 14; then # the recipe ends with one table of everything
        need 12 "$decode_dir"
        score >"$decode_dir/score.log"
    else
        score
    fi
fi

! runs 14 || pack

if runs 13 && runs 14; then
    rival=conf/tuning/train_base.yaml # the dense system
    next=()
    if [ -f $rival ] && ! cmp -s "$asr_config" $rival; then
        first=${test_sets%% *}
        next=(--rival "${RECIPE_COMMAND:-${command% }} --stage 11 --asr_config $rival --asr_tag base")
        next+=(--rival "espnet-smoe compare $expdir/base $asr_exp --data $dumpdir/raw/$first --test-set $first --out $expdir/compare.md --png $expdir/compare.png")
    fi
    # shellcheck disable=SC2086
    $python -m espnet_smoe.report.tables.overview --exp "$asr_exp" --decode "$inference_tag" \
        --data "$dumpdir/raw" --sets $decoded_sets --results "$results" \
        --zip "$asr_exp/$asr_tag.zip" "${next[@]}"
fi

log "done"
