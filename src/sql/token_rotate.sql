-- Issues a token that takes over from an old one, which goes on until the overlap is over; token_lock.sql goes before it in
-- the same transaction. No row: no such token. token_id is null where it has a successor already that is valid.
-- The successor of a successor stays in the line of the first. Without $4 it lives as long as the line's last was to live.
-- $1 bigint the old token's id, $2 bytea SHA-256 of the new one, $3 double seconds of overlap,
-- $4 double seconds until the new one expires (null: as the last one), $5 boolean the new one never expires,
-- $6 text who rotates it, $7 text why, or null, $8 text request id, or null
WITH successor AS MATERIALIZED (
    SELECT max(s.token_id) AS token_id
      FROM public.api_tokens s
     WHERE s.rotated_from = $1
       AND s.revoked_at IS NULL
       AND (s.expires_at IS NULL OR s.expires_at > statement_timestamp())
),
old AS MATERIALIZED (
    SELECT t.*,
           (
               SELECT NULLIF(l.expires_at, 'infinity') - l.created_at
                 FROM public.api_tokens l
                WHERE l.token_line = t.token_line
                ORDER BY l.token_id DESC
                LIMIT 1
           ) AS life
      FROM public.api_tokens t
     WHERE t.token_id = $1
),
issued AS (
    INSERT INTO public.api_tokens
           (token_sha256, vendor, field_profile, sandbox, allowed_addresses, created_by, expires_at, rotated_from,
            first_token_id)
    SELECT $2,
           old.vendor,
           old.field_profile,
           old.sandbox,
           old.allowed_addresses,
           $6,
           CASE WHEN NOT $5 THEN statement_timestamp() + COALESCE(make_interval(secs => $4), old.life) END,
           old.token_id,
           old.token_line
      FROM old
     WHERE (SELECT successor.token_id FROM successor) IS NULL
    RETURNING token_id, expires_at
),
granted AS (
    INSERT INTO public.api_permissions (token_id, action, resource)
    SELECT issued.token_id,
           p.action,
           p.resource
      FROM issued
     CROSS JOIN public.api_permissions p
     WHERE p.token_id = $1
),
-- LEAST passes over nulls: a token without an end gets one, an end that comes sooner stays.
ended AS (
    UPDATE public.api_tokens t
       SET expires_at = LEAST(t.expires_at, statement_timestamp() + make_interval(secs => $3))
      FROM issued
     WHERE t.token_id = $1
    RETURNING t.expires_at
),
audited AS (
    INSERT INTO public.audit_log (actor, action, object, reason, request_id, detail)
    SELECT $6,
           'token.rotate',
           'token ' || $1,
           $7,
           $8,
           jsonb_build_object(
               'vendor', old.vendor,
               'to_token', issued.token_id,
               'old_expires_at', ended.expires_at,
               'new_expires_at', issued.expires_at
           )
      FROM issued
     CROSS JOIN old
     CROSS JOIN ended
)
SELECT old.vendor,
       old.field_profile,
       old.revoked_at,
       ended.expires_at AS old_expires_at,
       issued.token_id,
       issued.expires_at,
       successor.token_id AS successor
  FROM old
 CROSS JOIN successor
  LEFT JOIN issued ON true
  LEFT JOIN ended ON true
