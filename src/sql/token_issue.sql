-- $1 bytea SHA-256 of the token, $2 text vendor, $3 text field profile, $4 boolean sandbox,
-- $5 double seconds until it expires (null: never), $6 text[] allowed addresses in CIDR notation (null: anywhere),
-- $7 text[] actions and $8 text[] resources of its permissions, pair by pair
-- $9 text who issues it, $10 text why, or null, $11 text request id, or null
WITH issued AS (
    INSERT INTO public.api_tokens
           (token_sha256, vendor, field_profile, sandbox, expires_at, allowed_addresses, created_by)
    VALUES ($1, $2, $3, $4, statement_timestamp() + make_interval(secs => $5), $6::text[]::cidr[], $9)
    RETURNING token_id, expires_at
),
granted AS (
    INSERT INTO public.api_permissions (token_id, action, resource)
    SELECT DISTINCT issued.token_id,
           permission.action,
           permission.resource
      FROM issued
     CROSS JOIN unnest($7, $8) AS permission (action, resource)
    RETURNING action || ':' || resource AS permission
),
audited AS (
    INSERT INTO public.audit_log (actor, action, object, reason, request_id, detail)
    SELECT $9,
           'token.issue',
           'token ' || issued.token_id,
           $10,
           $11,
           jsonb_build_object(
               'vendor', $2,
               'fields', $3,
               'sandbox', $4,
               'expires_at', issued.expires_at,
               'allowed_addresses', $6,
               'permissions', ARRAY(SELECT granted.permission FROM granted ORDER BY 1)
           )
      FROM issued
)
SELECT token_id,
       expires_at
  FROM issued
