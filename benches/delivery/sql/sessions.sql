-- The server processes of the gateway's sessions.
SELECT pid
  FROM pg_stat_activity
 WHERE application_name LIKE 'turnpike/%'
