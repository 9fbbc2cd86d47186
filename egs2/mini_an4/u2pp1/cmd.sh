# Where jobs run: "run_job local" is this machine, "run_job slurm" submits with
# sbatch (options in conf/slurm.conf).
backend=local

train_cmd="./run_job $backend"  # statistics
cuda_cmd="./run_job $backend"   # training
decode_cmd="./run_job $backend" # decoding
