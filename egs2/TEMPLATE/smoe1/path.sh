# Within a checkout its package, installed or not; elsewhere the installed one.
root=$(cd ../../.. && pwd)
[ ! -d "$root/espnet_smoe" ] || export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export LC_ALL=C.UTF-8
export PYTHONIOENCODING=UTF-8
# On a busy machine a thread that spins takes the core from the one it waits for. One
# other process beside a training step with two threads: 3.3 s a step with the default,
# 0.9 s with this, 0.3 s alone with either.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000}
# What this machine needs besides, as in ESPnet.
[ ! -f local/path.sh ] || . local/path.sh
