# The package of this checkout, installed or not.
root=$(cd ../../.. && pwd)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export LC_ALL=C.UTF-8
export PYTHONIOENCODING=UTF-8
