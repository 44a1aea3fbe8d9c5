-- Parks a run that has not ended, under its row's lock and fence, and takes its deadline away.
UPDATE {schema}.runs
SET status = 2, parked = $3, wake_at = NULL, wake_after = NULL, updated_at = {schema}.clock()
WHERE run_id = $1 AND fence = $2 AND stamp = coalesce($4, stamp) AND status < 10
RETURNING updated_at AS now, last_seq, fence, status, stamp
