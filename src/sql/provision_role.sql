-- The statement that makes a role; no row where there is one of this name.
-- $1 text the role's name
-- $2 text its password's SCRAM verifier, so that the server's log of statements doesn't get the password itself
SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1, $2) AS statement
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1)
