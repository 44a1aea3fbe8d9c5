-- Wait for the write that is under way, if one is: it holds the stream's row.
SELECT FROM {schema}.streams WHERE run_id = $1 AND name = $2 FOR SHARE
