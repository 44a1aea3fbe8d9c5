-- Sets a deadline under the row's lock and fence. One statement is safe here: it looks at nothing but the row that it locks.
UPDATE {schema}.runs
SET wake_at = CASE WHEN last_seq = $3 THEN $4 ELSE least(wake_at, $4) END
WHERE run_id = $1 AND fence = $2
RETURNING {schema}.clock() AS now, last_seq, fence, status
