#!/usr/bin/env bash
# Train, decode and score one CTC model of Mandarin syllables, with an n-gram language
# model and a decoding graph. The stages have the numbers of ESPnet's asr.sh.
set -euo pipefail
fixed='token_type=syllable use_ngram=true'
. "$(dirname "$(readlink -f "$0")")/../stages.sh"

# options begin
## Language and graph
lang_opts=                  # options for stage 5, such as '--inventory full'
langdir=data/lang           # units, lexicon, language model, graph
lm_text=                    # files of more text for the language model, a sentence a line
arpa=                       # a language model to use instead of training one
ngram_num=5                 # n of the n-gram model
lm_prune=1e-8               # prune what changes the model by less, 0 for nothing
inference_config='conf/decode.yaml conf/decode_greedy.yaml' # configurations of decoding, separated by spaces
inference_asr_model=valid.loss_ctc.ave.pth # the checkpoint to decode and pack
# options end

stages='1 data, 2 speed perturbation, 3 format, 4 filter, 5 syllables and lexicon, 6 language model, 7 perplexity, 8 decoding graph, 10 statistics, 11 train, 12 decode, 13 score, 14 pack'
read_options "$@"

tokens=
token_files=$langdir/tokens.txt
data_files=(wav.scp,speech,sound text_syllable,text,text)
model_options=(--token_type word --token_list "$langdir/tokens.txt")
lm=${arpa:-$langdir/lm.arpa}
graph=$langdir/graph
decode_options=(--graph "$graph")
scored_without=5

make_tokens() {
    log "Stage 5: syllables, words and their readings"
    syllables "$langdir" ${lm_text:+--lm-text $lm_text} $lang_opts
}

language_model() {
    if runs 6 && [ -z "$arpa" ]; then
        log "Stage 6: $ngram_num-gram language model"
        lock "$dumpdir"
        need 5 "$langdir/lm_train.txt" "$langdir/words.txt"
        $python -m espnet_smoe.lm.train --text "$langdir/lm_train.txt" --order "$ngram_num" \
            --vocab "$langdir/words.txt" --prune "$lm_prune" --out "$lm"
    fi
    if runs 7; then
        log "Stage 7: perplexity of $lm"
        local set
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
}

run_stages
