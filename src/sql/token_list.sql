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
       t.expires_at,
       t.revoked_at,
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
 ORDER BY t.token_id
