# Where the corpora lie; local/data.sh reads it. A variable of the environment wins, and
# options in --local_data_opts win over both.
AIHUB=${AIHUB:-}       # folder of AIHub's corpora
FLEURS=${FLEURS:-}     # ko_kr and en_us of google/fleurs
AISHELL=${AISHELL:-}   # folder that holds data_aishell
AISHELL2=${AISHELL2:-} # folder AISHELL-DEV-TEST-SET
