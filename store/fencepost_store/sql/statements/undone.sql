-- No row: the transaction of that id, which user code has filled and we have rolled back, was committed by it before.
SELECT 1 WHERE pg_xact_status('{id}'::xid8) IS DISTINCT FROM 'committed'
