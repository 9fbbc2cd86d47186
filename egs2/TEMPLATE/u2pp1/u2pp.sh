#!/usr/bin/env bash
# Train, decode and score one U2++ model: one model for streams and for whole utterances.
# The stages have the numbers of ESPnet's asr.sh.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/../stages.sh"

# options begin
## Tokens and chunks
token_type=char             # char, bpe or syllable (of Mandarin, scored as SER)
nbpe=0                      # tokens of char or bpe, special ones included; char: 0 for all
bpemode=bpe                 # sentencepiece's bpe or unigram
bpe_nlsyms=                 # tokens that no text is cut into, or a file of them
bpe_input_sentence_size=100000000 # learn bpe from so many texts, chosen by chance
mandarin=false              # true: texts become plain characters, and CER is scored
chunk_sizes='0 16'          # decode each with chunks of so many frames; 0: no chunks
# options end

stages='1 data, 2 speed perturbation, 3 format, 4 filter, 5 tokens, 10 statistics, 11 train, 12 decode, 13 score, 14 pack'
read_options "$@"

among "$token_type" char bpe syllable ||
    die "--token_type '$token_type' is not char, bpe or syllable"
[ -z "$inference_tag" ] || die "--inference_tag is not for U2++: a decoding is named after way and chunk"
[ "$token_type" != bpe ] || [ "$nbpe" -gt 0 ] || die "--token_type bpe needs --nbpe"
among "$bpemode" bpe unigram || die "--bpemode '$bpemode' is not bpe or unigram"
for size in $chunk_sizes; do
    [[ $size =~ ^[0-9]+$ ]] || die "--chunk_sizes '$size' is not a whole number"
done

kind=$token_type
[ "$kind" != bpe ] || kind=$bpemode
tokens=$kind${nbpe#0}
token_dir=$tokendir/$tokens
token_files=$token_dir/tokens.txt
model_options=(--token_type "$token_type" --token_list "$token_files")
text=text
task=asr
case $token_type in
    bpe)
        model_options+=(--bpemodel "$token_dir/bpe.model")
        token_files+=" $token_dir/bpe.model" ;;
    syllable)
        model_options=(--token_type word --token_list "$token_files")
        text=text_syllable
        task=units
        scored_without=5 ;;
esac
[ "$token_type" = syllable ] || ! "$mandarin" || { text=text_plain; task=words; }
data_files=(wav.scp,speech,sound "$text,text,text")
decode_options=(--chunk-size $chunk_sizes --task $task)

make_tokens() {
    log "Stage 5: tokens of type $token_type"
    need 4 "$train_dir/text" "$valid_dir/text"
    if [ "$token_type" = syllable ]; then
        syllables "$token_dir"
        return
    fi
    [ "$text" = text ] ||
        $python -m espnet_smoe.data.text.plain_text "$train_dir" "$valid_dir"
    local learn=()
    [ "$token_type" != bpe ] || learn=(--sentences "$bpe_input_sentence_size")
    $python -m espnet_smoe.data.text.tokens --text "$train_dir/$text" --type "$kind" \
        --size "$nbpe" --special $(symbols "$bpe_nlsyms") "${learn[@]}" --out "$token_dir"
}

decodings() {
    local config size
    for config in $inference_config; do
        for size in $chunk_sizes; do
            [ "$size" -gt 0 ] && size=chunk$size || size=full
            echo "$(decoding "$config")_$size$(overrides)"
        done
    done
}

write_results() { # and of each set the table of ways and chunks
    local set tables=()
    for set in $decoded_sets; do
        $python -m espnet_smoe.report.tables.decoding_table "$asr_exp" --test-set "$set" \
            --out "$asr_exp/modes_$set.md"
        tables+=("$asr_exp/modes_$set.md")
    done
    $python -m espnet_smoe.report.tables.results --comparison "${tables[@]}" \
        --out "$results" --command "${command% }"
}

run_stages
