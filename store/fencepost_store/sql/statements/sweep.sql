-- The call of sweep.
SELECT o_rows, o_left FROM {schema}.sweep($1::integer)
