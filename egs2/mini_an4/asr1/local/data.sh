#!/usr/bin/env bash
# Stage 1 of asr.sh: data/{train_nodev,train_dev,test} from the seven recordings of
# mini_an4 in the ESPnet wheel.
set -euo pipefail

. ./path.sh

python3 local/data_prep.py --downloads downloads --data data
for dir in data/train data/test; do
    utils/utt2spk_to_spk2utt.pl $dir/utt2spk >$dir/spk2utt
    utils/validate_data_dir.sh --no-feats $dir
done
utils/subset_data_dir.sh --first data/train 1 data/train_dev
utils/subset_data_dir.sh --last data/train 4 data/train_nodev
