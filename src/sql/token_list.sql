-- A tenant's tokens, never the tokens themselves.
-- $1 bigint only this one, $2 double only those that are valid now and expire within so many seconds; null: all
SELECT t.token_id,
       t.vendor,
       t.field_profile,
       t.sandbox,
       ARRAY(
           SELECT p.action || ':' || p.resource
             FROM public.api_permissions p
            WHERE p.token_id = t.token_id
            ORDER BY 1
       ) AS permissions,
       t.allowed_addresses::text[] AS allowed_addresses,
       t.created_at,
       t.created_by,
       -- An infinite one is none: no other form of a time can tell it.
       NULLIF(t.expires_at, 'infinity') AS expires_at,
       t.revoked_at,
       t.revoked_by,
       t.token_line,
       t.rotated_from,
       (
           SELECT max(s.token_id)
             FROM public.api_tokens s
            WHERE s.rotated_from = t.token_id
       ) AS rotated_to,
       CASE
           WHEN t.revoked_at IS NOT NULL THEN 'revoked'
           WHEN t.expires_at <= statement_timestamp() THEN 'expired'
           ELSE 'active'
       END AS status,
       (
           SELECT max(b.claimed_at)
             FROM public.collection_batches b
            WHERE b.token_id = t.token_id
       ) AS last_claim
  FROM public.api_tokens t
 WHERE ($1::bigint IS NULL OR t.token_id = $1)
   AND (
       $2::double precision IS NULL
       OR (
           t.revoked_at IS NULL
           AND t.expires_at > statement_timestamp()
           AND t.expires_at <= statement_timestamp() + make_interval(secs => $2)
       )
   )
 ORDER BY t.token_id
