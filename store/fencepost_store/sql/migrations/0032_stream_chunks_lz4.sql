-- lz4 packs payloads several times faster than the default; a server built without it keeps the default.
DO $$
BEGIN
    ALTER TABLE {schema}.stream_chunks ALTER COLUMN payload SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN
    RAISE NOTICE 'this server has no lz4, payloads are compressed with pglz';
END
$$
