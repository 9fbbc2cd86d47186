# Where jobs run: "run_job local" is this machine, "run_job slurm" submits with sbatch
# (conf/slurm.conf). Options of conf/slurm.conf may follow, such as "run_job slurm --mem 8G".
cmd_backend=${cmd_backend:-local}

export train_cmd="./run_job $cmd_backend"  # statistics
export cuda_cmd="./run_job $cmd_backend"   # training
export decode_cmd="./run_job $cmd_backend" # decoding
