-- The statements that make a tenant's database, in their order; each is sent alone, for CREATE DATABASE runs in no transaction
-- block. Only its owner and the gateway may enter it. A database that is there already, and the owner's, is kept.
-- $1 text the database
-- $2 text its owner
-- $3 text the gateway's role
WITH situation AS (
    SELECT (SELECT pg_get_userbyid(datdba) FROM pg_catalog.pg_database WHERE datname = $1) AS owner,
           -- Who isn't a superuser makes a database only for a role that he is a member of.
           NOT pg_has_role($2, 'MEMBER') AS joins
)
SELECT step.statement, step.makes_database, situation.owner, situation.joins
  FROM situation
 CROSS JOIN LATERAL (
    VALUES (1, joins, false, format('GRANT %I TO CURRENT_USER', $2)),
           (2, owner IS NULL, true, format('CREATE DATABASE %I OWNER %I', $1, $2)),
           (3, true, false, format('REVOKE ALL ON DATABASE %I FROM PUBLIC', $1)),
           (4, $3 <> $2, false, format('GRANT CONNECT ON DATABASE %I TO %I', $1, $3)),
           (5, joins, false, format('REVOKE %I FROM CURRENT_USER', $2))
  ) AS step (position, is_needed, makes_database, statement)
 WHERE step.is_needed
 ORDER BY step.position
