# Slurm warns this shell (--signal=B:USR1@...), which passes the warning on: sdbatch finishes what
# fits, and exits with 75. What preempts or cancels sends SIGTERM to all of us; sdbatch, which has
# it already, ignores a second warning.
worker='' warned='' stopped=''
trap 'warned=yes; [ -z "$worker" ] || kill -USR1 "$worker" 2>/dev/null' USR1
trap 'stopped=yes; [ -z "$worker" ] || kill -USR1 "$worker" 2>/dev/null' TERM
"${command[@]}" "launcher.index=$index" "launcher.count=$count" &
worker=$!
[ -z "$warned$stopped" ] || kill -USR1 "$worker"
# A signal ends `wait`, not the worker.
while kill -0 "$worker" 2>/dev/null; do wait "$worker"; done
wait "$worker"
code=$?

# 138: the warning came before sdbatch could listen.
if [ -n "$warned" ] && { [ "$code" = 75 ] || [ "$code" = 138 ]; }; then
    if [ "${SLURM_RESTART_COUNT:-0}" -lt "$max_requeues" ]; then
        echo "sdbatch: the time is up: this task queues again" >&2
        scontrol requeue "$SLURM_JOB_ID"
    else
        echo "sdbatch: error: the time is up, and this task was requeued $max_requeues times" >&2
    fi
fi
# Who finds every shard there spares the others the wait for a machine.
if [ "$code" = 0 ] && [ -n "$shards" ] &&
    [ "$(find "$dataset/shards" -mindepth 1 -maxdepth 1 | wc -l)" -ge "$shards" ]; then
    scancel --quiet --state=PENDING "$SLURM_ARRAY_JOB_ID"
fi
exit "$code"
