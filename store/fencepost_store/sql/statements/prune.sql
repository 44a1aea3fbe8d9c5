-- The call of prune.
SELECT o_run, o_outcome FROM {schema}.prune($1::uuid[], $2::uuid[], $3::bigint, $4::uuid[], $5::boolean)
