-- $1 bigint token_id. Gives the vendor and when it was revoked, also where that was long ago; no row: no such token.
WITH revoked AS (
    UPDATE public.api_tokens t
       SET revoked_at = statement_timestamp(),
           revoked_by = session_user
     WHERE t.token_id = $1
       AND t.revoked_at IS NULL
    RETURNING t.vendor, t.revoked_at
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
