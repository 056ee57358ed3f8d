-- Claims of one tenant are serialised, so that "empty" means none left. The lock has its own statement: the claim's
-- snapshot must be taken after the wait, or rows that the lock's holder gave back would be overlooked.
BEGIN;
SELECT pg_catalog.pg_advisory_xact_lock(1953853040, 1);
