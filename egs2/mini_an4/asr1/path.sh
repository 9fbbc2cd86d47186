# Sourced by ESPnet's scripts: where its tools lie and what its sorting expects.

# Within a checkout its package, installed or not; elsewhere the installed one.
root=$(cd ../../.. && pwd)
[ ! -d "$root/espnet_smoe" ] || export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

export PATH=$PWD/utils:$PWD/downloads/espnet/tools/sentencepiece_commands:$PATH
# Debian's sctk keeps sclite off PATH.
[ ! -d /usr/lib/sctk/bin ] || export PATH=$PATH:/usr/lib/sctk/bin

export LC_ALL=C
export PYTHONIOENCODING=UTF-8
export OMP_NUM_THREADS=1
