-- Appends batches of which some end in run_continued and hand hooks over to the run that goes on.
SELECT * FROM {schema}.append_continued(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25
)
