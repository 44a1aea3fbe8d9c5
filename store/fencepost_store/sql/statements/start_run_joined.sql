-- Starts a run inside the caller's own transaction, if its database is the one of this namespace; else no row, and nothing was written.
-- Everything comes and goes as text: for other types the caller's connection may have codecs of its own.
SELECT s.o_run::text AS o_run, s.o_created::text AS o_created, encode(s.o_payload, 'hex') AS o_payload, s.o_starts_in::text AS o_starts_in
FROM {schema}.schema_version v CROSS JOIN LATERAL {schema}.start_run(
    $1::text::uuid, $2::text, $3::text, $4::text, $5::text, decode($6::text, 'hex'), $7::text::bigint, $8::text::jsonb,
    $9::text::bigint, $10::text::bigint, $11::text::bigint, $12::text::smallint[]
) s
WHERE v.version = 1 AND v.applied_at = $13::text::timestamptz AND current_database() = $14::text
