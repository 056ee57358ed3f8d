-- One of the batches of a token's line, unless it is void or was requeued.
-- $1 bytea SHA-256 of the token, $2 bigint batch_id
SELECT b.batch_id,
       b.claim_id,
       b.state,
       b.record_count,
       b.violation_ids,
       t.field_profile
  FROM public.api_tokens t
  JOIN public.api_tokens l
    ON l.token_line = t.token_line
  JOIN public.collection_batches b
    ON b.token_id = l.token_id
 WHERE t.token_sha256 = $1
   AND b.batch_id = $2
   AND b.state <> 'void'
   AND b.requeued_at IS NULL
