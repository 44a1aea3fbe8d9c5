-- Sets a deadline under the row's lock and fence, or leaves it to be moved when it has passed (see wake_after), but for parked runs (2), which
-- are looked for by what is in the index, and those that have ended. One statement is safe here: it looks
-- at nothing but the row that it locks.
UPDATE {schema}.runs
SET wake_at = CASE WHEN (status >= 10 OR status = 2) AND last_seq = $3 THEN $4 ELSE least(wake_at, $4) END,
    wake_after = CASE
        WHEN status >= 10 OR status = 2 OR $4 <= wake_at THEN NULL
        WHEN last_seq = $3 THEN CASE WHEN $4 > wake_at THEN $4 WHEN wake_at IS NOT NULL THEN 0 END
        WHEN wake_after IS NOT NULL THEN coalesce(least(nullif(wake_after, 0), $4), 0)
    END
WHERE run_id = $1 AND fence = $2 AND stamp = coalesce($5, stamp)
RETURNING {schema}.clock() AS now, last_seq, fence, status, stamp
