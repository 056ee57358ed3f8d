-- Gives the vendor and when it was revoked, also where that was long ago; no row: no such token.
-- $1 bigint token_id, $2 text who revokes it, $3 text why, or null, $4 text request id, or null
-- Locked first: of two who revoke at once the second waits here, and then sees what the first has written. An UPDATE alone would
-- wait too, but leave the rest of the statement with the row as it was before.
WITH known AS MATERIALIZED (
    SELECT t.token_id,
           t.vendor,
           t.revoked_at
      FROM public.api_tokens t
     WHERE t.token_id = $1
       FOR NO KEY UPDATE
),
revoked AS (
    UPDATE public.api_tokens t
       SET revoked_at = statement_timestamp(),
           revoked_by = $2
      FROM known k
     WHERE t.token_id = k.token_id
       AND k.revoked_at IS NULL
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
SELECT k.vendor,
       k.revoked_at,
       false
  FROM known k
 WHERE k.revoked_at IS NOT NULL
