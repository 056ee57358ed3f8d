-- Stores tokens that vendors have already. All of them or, where one is there, none: token_sha256 is unique.
-- $1 bytea[] SHA-256 of each, $2 text[] vendors, $3 text[] field profiles, $4 boolean[] sandbox, $5 timestamptz[] when they
-- expire, or null, $6 text[] allowed addresses, each an array in PostgreSQL's notation, or null, $7 bigint[] places in these
-- lists of those whose permissions follow, $8 text[] actions, $9 text[] resources
-- $10 text who imports them, $11 text why, or null, $12 text request id, or null
WITH given AS MATERIALIZED (
    SELECT *
      FROM unnest($1, $2, $3, $4, $5, $6)
           WITH ORDINALITY AS item (token_sha256, vendor, field_profile, sandbox, expires_at, allowed, position)
),
imported AS (
    INSERT INTO public.api_tokens
           (token_sha256, vendor, field_profile, sandbox, expires_at, allowed_addresses, created_by)
    SELECT given.token_sha256,
           given.vendor,
           given.field_profile,
           given.sandbox,
           given.expires_at,
           given.allowed::cidr[],
           $10
      FROM given
     ORDER BY given.position
    RETURNING token_id, token_sha256, vendor, field_profile, sandbox, expires_at, allowed_addresses
),
granted AS (
    INSERT INTO public.api_permissions (token_id, action, resource)
    SELECT DISTINCT imported.token_id,
           permission.action,
           permission.resource
      FROM imported
      JOIN given USING (token_sha256)
      JOIN unnest($7, $8, $9) AS permission (position, action, resource) USING (position)
    RETURNING token_id, action || ':' || resource AS permission
),
audited AS (
    INSERT INTO public.audit_log (actor, action, object, reason, request_id, detail)
    SELECT $10,
           'token.import',
           'token ' || imported.token_id,
           $11,
           $12,
           jsonb_build_object(
               'vendor', imported.vendor,
               'fields', imported.field_profile,
               'sandbox', imported.sandbox,
               'expires_at', imported.expires_at,
               'allowed_addresses', imported.allowed_addresses,
               'permissions',
               ARRAY(SELECT g.permission FROM granted g WHERE g.token_id = imported.token_id ORDER BY 1)
           )
      FROM imported
     ORDER BY imported.token_id
)
SELECT given.position,
       imported.token_id
  FROM imported
  JOIN given USING (token_sha256)
 ORDER BY given.position
