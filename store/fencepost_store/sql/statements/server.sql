-- Which server this is: another cluster, another timeline after a promotion, another life after a restart.
SELECT (SELECT system_identifier FROM pg_control_system()) AS cluster,
    CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
    pg_postmaster_start_time() AS since
