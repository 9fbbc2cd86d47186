# Who runs the jobs: ESPnet's run.pl starts them on this machine.
export train_cmd=run.pl
export cuda_cmd=run.pl
export decode_cmd=run.pl
