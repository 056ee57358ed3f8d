-- Gives the vendor and when it was revoked, also where that was long ago; no row: no such token.
-- $1 bigint token_id, $2 text who revokes it, $3 text why, or null, $4 text request id, or null
WITH revoked AS (
    UPDATE public.api_tokens t
       SET revoked_at = statement_timestamp(),
           revoked_by = $2
     WHERE t.token_id = $1
       AND t.revoked_at IS NULL
    RETURNING t.vendor, t.revoked_at
),
audited AS (
    INSERT INTO public.audit_log (actor, action, object, reason, request_id, detail)
    SELECT $2,
           'token.revoke',
           'token ' || $1,
           $3,
           $4,
           jsonb_build_object('vendor', revoked.vendor)
      FROM revoked
)
SELECT r.vendor,
       r.revoked_at,
       true AS now
  FROM revoked r
 UNION ALL
SELECT t.vendor,
       t.revoked_at,
       false
  FROM public.api_tokens t
 WHERE t.token_id = $1
   AND NOT EXISTS (SELECT FROM revoked)
