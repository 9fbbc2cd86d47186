#!/usr/bin/env bash
# Train, decode and score one model for speech recognition and translation.
# The stages have the numbers of ESPnet's asr.sh; everything they need is in pip.
set -euo pipefail
fixed='token_type=bpe'
. "$(dirname "$(readlink -f "$0")")/../stages.sh"

# options begin
## Labels and tokens
tasks=                      # names such as 'asr st ja', with texts in text_ja (default: those of asr_config)
bandwidth=file              # file, auto or a label: see espnet-smoe prepare --help
bandwidths='nb wb'          # the bandwidth labels of the data
nbwb_share=                 # make *_nbwb sets too, of this share of training, such as 0.15; 0: none
on_nbwb=false               # true: stages 10 and 11 train on the *_nbwb sets
with_nbwb=false             # true: they train on *_mixed, the whole sets, those utterances in their conditions
max_tokens=120              # leave out longer texts (training and validation)
bpemode=bbpe                # bbpe (of bytes), or sentencepiece's bpe or unigram
nbpe=40000                  # tokens, special ones included
bpe_nlsyms='<transcribe> <translate> <ko> <en> <wb> <nb>' # labels and prompts, or a file of them
tokens_from=                # take tokens.txt and bpe.json from this folder, such as an imported model
bpe_input_sentence_size=100000000 # learn tokens from so many texts, chosen by chance
# options end

stages='1 data, 2 speed perturbation, 3 format, 4 filter, 5 tokens, 10 statistics, 11 train, 12 decode, 13 score, 14 pack'
read_options "$@"

[[ $nbwb_share =~ ^(0(\.[0-9]*)?|\.[0-9]+|1(\.0*)?)?$ ]] ||
    die "--nbwb_share '$nbwb_share' is not a share between 0 and 1"
[[ -z $nbwb_share || $nbwb_share =~ [1-9] ]] || nbwb_share= with_nbwb=false # 0 is none
! "$on_nbwb" || [ -n "$nbwb_share" ] || die "--on_nbwb true needs --nbwb_share"
! "$with_nbwb" || [ -n "$nbwb_share" ] || die "--with_nbwb true needs --nbwb_share"
[ "$bpemode" != sentencepiece ] || bpemode=bpe # its former name
among "$bpemode" bbpe bpe unigram || die "--bpemode '$bpemode' is not bbpe, bpe or unigram"

[ -z "$nbwb_share" ] || endings=('' _nbwb)
! "$with_nbwb" || { trained=_mixed train_endings=(_mixed); }
! "$on_nbwb" || trained=_nbwb
tokens=$bpemode$nbpe
[ -z "$tokens_from" ] || tokens=$(basename "$tokens_from") bpemode=bbpe
token_dir=$tokendir/$tokens
bpemodel=$token_dir/bpe.json
[ "$bpemode" = bbpe ] || bpemodel=$token_dir/bpe.model
token_files="$token_dir/tokens.txt $bpemodel"
model_options=(--allow_variable_data_keys true --token_type bpe --bpemodel "$bpemodel"
    --token_list "$token_dir/tokens.txt")
[ -z "$tasks" ] || [ -f "$tasks" ] || model_options+=(--model_conf "tasks=[${tasks// /,}]")
tasks=${tasks:-$asr_config}
format_options=(--bandwidth "$bandwidth" --labels $bandwidths --tasks "$tasks")
pack_options=(--decoding "${inference_config%% *}")

read_tasks() { # the files of the tasks' texts, for stages 5 to 11
    local file
    data_files=(wav.scp,speech,sound)
    targets=$($python -m espnet_smoe.data.task_table "$tasks" --show targets)
    for file in $targets; do data_files+=("$file,$file,text"); done
    data_files+=(utt2bandwidth,bandwidth,text)
    [ ! -f "$train_dir/utt2lang" ] ||
        [ -z "$($python -m espnet_smoe.data.task_table "$tasks" --show spoken)" ] ||
        data_files+=(utt2lang,lang,text)
}

# A share of training and all of validation, each utterance in one of five channel
# conditions; every test utterance in each of them.
add_conditions() {
    [ -n "$nbwb_share" ] || return 0
    log "Stage 3: narrowband and wideband conditions"
    local set which
    for set in $plain_sets; do
        case $set in
            "$perturbed") which=(--share "$nbwb_share") ;;
            "$valid_set") which=(--share 1) ;;
            *) which=(--every) ;;
        esac
        $python -m espnet_smoe.data.speech.channel --in "$org/$set" \
            --out "$dumpdir/raw/channel/$set" --nj "$nj" "${which[@]}"
        format "$dumpdir/raw/channel/$set" "$set"_nbwb
    done
    ! "$with_nbwb" || mix_conditions
}

mix_conditions() { # an utterance has the same id in both sets
    local set plain file name
    for set in "$perturbed" "$valid_set"; do
        plain=$org/$set
        rm -rf "${plain}_mixed"
        mkdir -p "${plain}_mixed.part"
        for file in "$plain"/utt2* "$plain"/text* "$plain/wav.scp"; do
            name=${file##*/}
            # of each utterance the first line; stage 3 has sorted both
            LC_ALL=C sort --merge --unique --field-separator=' ' --key=1,1 \
                "${plain}_nbwb/$name" "$file" >"${plain}_mixed.part/$name"
        done
        mv "${plain}_mixed.part" "${plain}_mixed"
    done
}

make_tokens() {
    [ -z "$tokens_from" ] || { take_tokens && return; }
    read_tasks
    log "Stage 5: $nbpe $bpemode tokens of $targets"
    local file texts=$dumpdir/raw/$perturbed learn=()
    for file in $targets; do learn+=("$texts/$file"); done
    need 4 "$texts/text" "$valid_dir/text"
    $python -m espnet_smoe.data.text.tokens --text "${learn[@]}" \
        --type "$bpemode" --size "$nbpe" --tasks "$tasks" --special $(symbols "$bpe_nlsyms") \
        --sentences "$bpe_input_sentence_size" --out "$token_dir"
    filter_by_tokens
}

take_tokens() {
    log "Stage 5: the tokens of $tokens_from"
    need 4 "$dumpdir/raw/$perturbed/text" "$valid_dir/text"
    mkdir -p "$token_dir"
    cp "$tokens_from/tokens.txt" "$tokens_from/bpe.json" "$token_dir" ||
        die "--tokens_from $tokens_from lacks tokens.txt or bpe.json"
    filter_by_tokens
}

filter_by_tokens() { # now that they can be counted
    local set
    for set in $train_sets; do filter "$set" --bpemodel "$bpemodel"; done
}

overview() {
    local first dense=conf/tuning/train_base.yaml next=()
    if [ -f $dense ] && ! cmp -s "$asr_config" $dense; then
        first=${test_sets%% *}
        next=(--next "${RECIPE_COMMAND:-${command% }} --stage 11 --asr_config $dense --asr_tag base")
        next+=(--next "espnet-smoe compare $expdir/base $asr_exp --data $dumpdir/raw/$first --test-set $first --out $expdir/compare.md --png $expdir/compare.png")
    fi
    $python -m espnet_smoe.report.tables.overview --exp "$asr_exp" \
        --decode "$(decodings | head -n 1)" \
        --data "$dumpdir/raw" --sets $decoded_sets --results "$results" \
        --html "$asr_exp/overview.html" --zip "$asr_exp/$asr_tag.zip" "${next[@]}"
}

run_stages
