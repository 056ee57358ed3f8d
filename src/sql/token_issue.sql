-- $1 bytea SHA-256 of the token, $2 text vendor, $3 text field profile, $4 boolean sandbox,
-- $5 double seconds until it expires (null: never), $6 text[] allowed addresses in CIDR notation (null: anywhere),
-- $7 text[] actions and $8 text[] resources of its permissions, pair by pair
WITH issued AS (
    INSERT INTO public.api_tokens (token_sha256, vendor, field_profile, sandbox, expires_at, allowed_addresses)
    VALUES ($1, $2, $3, $4, statement_timestamp() + make_interval(secs => $5), $6::text[]::cidr[])
    RETURNING token_id, expires_at
),
granted AS (
    INSERT INTO public.api_permissions (token_id, action, resource)
    SELECT DISTINCT issued.token_id,
           permission.action,
           permission.resource
      FROM issued
     CROSS JOIN unnest($7, $8) AS permission (action, resource)
)
SELECT token_id,
       expires_at
  FROM issued
