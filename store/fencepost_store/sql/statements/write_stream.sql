-- Chunks into a stream, or its end, or leave to write.
SELECT * FROM {schema}.write_stream($1, $2, $3, $4, $5, $6, $7, $8, $9)
