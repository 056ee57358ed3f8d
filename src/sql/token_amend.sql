-- Changes a token that isn't revoked; what isn't to change stays. No row: no such token, or a revoked one.
-- $1 bigint token_id, $2 text field profile, null: as it is,
-- $3 boolean whether to change the addresses, $4 text[] those allowed in CIDR notation (null: anywhere),
-- $5 boolean whether to change the expiry, $6 double seconds until it expires (null: never),
-- $7 text who changes it, $8 text why, or null, $9 text request id, or null
WITH before AS MATERIALIZED (
    SELECT t.token_id,
           t.vendor,
           t.field_profile,
           t.allowed_addresses,
           t.expires_at
      FROM public.api_tokens t
     WHERE t.token_id = $1
       AND t.revoked_at IS NULL
       FOR NO KEY UPDATE
),
after AS (
    UPDATE public.api_tokens t
       SET field_profile = COALESCE($2, t.field_profile),
           allowed_addresses = CASE WHEN $3 THEN $4::text[]::cidr[] ELSE t.allowed_addresses END,
           expires_at = CASE WHEN $5 THEN statement_timestamp() + make_interval(secs => $6) ELSE t.expires_at END
      FROM before
     WHERE t.token_id = before.token_id
    RETURNING t.token_id, t.field_profile, t.allowed_addresses, t.expires_at
),
audited AS (
    INSERT INTO public.audit_log (actor, action, object, reason, request_id, detail)
    SELECT $7,
           'token.update',
           'token ' || $1,
           $8,
           $9,
           jsonb_build_object(
               'vendor', before.vendor,
               'before', jsonb_build_object(
                   'fields', before.field_profile,
                   'allowed_addresses', before.allowed_addresses,
                   'expires_at', before.expires_at
               ),
               'after', jsonb_build_object(
                   'fields', after.field_profile,
                   'allowed_addresses', after.allowed_addresses,
                   'expires_at', after.expires_at
               )
           )
      FROM before
     CROSS JOIN after
)
SELECT before.vendor
  FROM before
 CROSS JOIN after
