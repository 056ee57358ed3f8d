-- Two migrations at once: the second waits here, and then finds nothing to do. Held until the session ends.
SELECT pg_catalog.pg_advisory_lock(1953853040, 2);
