#!/usr/bin/env bash
# Stage 1: data/{train,test}, the seven recordings of mini_an4 in the ESPnet wheel.
set -euo pipefail

"${PYTHON:-python3}" ../asr1/local/data_prep.py --downloads downloads --data data
