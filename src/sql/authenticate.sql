-- What a token may do here. No row: it is unknown, revoked, expired, or used from an address that it may not be used from.
-- $1 bytea SHA-256 of the token, $2 inet the caller's address
SELECT t.token_id,
       t.vendor,
       t.sandbox,
       -- An infinite end is none.
       NULLIF(t.expires_at, 'infinity') AS expires_at,
       extract(epoch FROM NULLIF(t.expires_at, 'infinity') - statement_timestamp())::double precision AS expires_in,
       EXISTS (
           SELECT
             FROM public.api_permissions p
            WHERE p.token_id = t.token_id
              AND p.action = 'user-create'
              AND p.resource = 'violation_collection'
       ) AS permitted
  FROM public.api_tokens t
 WHERE t.token_sha256 = $1
   AND t.revoked_at IS NULL
   AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
   AND (t.allowed_addresses IS NULL OR $2 <<= ANY (t.allowed_addresses))
