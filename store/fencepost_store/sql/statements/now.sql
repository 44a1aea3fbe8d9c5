-- The database clock.
SELECT {schema}.clock() AS now
