-- One of a token's own batches, unless it is void or was requeued.
-- $1 bytea SHA-256 of the token, $2 bigint batch_id
SELECT b.batch_id,
       b.claim_id,
       b.state,
       b.record_count,
       t.field_profile
  FROM public.api_tokens t
  JOIN public.collection_batches b
    ON b.token_id = t.token_id
 WHERE t.token_sha256 = $1
   AND b.batch_id = $2
   AND b.state <> 'void'
   AND b.requeued_at IS NULL
