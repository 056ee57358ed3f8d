-- Records that a vendor has received a released batch whole; the first acknowledgement's time stays.
-- No row: no batch of the token's line, not released, or of another number of records.
-- $1 bytea SHA-256 of the token, $2 bigint batch_id, $3 bigint records received
UPDATE public.collection_batches b
   SET acknowledged_at = COALESCE(b.acknowledged_at, statement_timestamp())
  FROM public.api_tokens t
  JOIN public.api_tokens l
    ON l.token_line = t.token_line
 WHERE t.token_sha256 = $1
   AND b.token_id = l.token_id
   AND b.batch_id = $2
   AND b.state = 'released'
   AND b.requeued_at IS NULL
   AND b.record_count = $3
RETURNING b.batch_id,
          b.state,
          b.record_count,
          b.claimed_at,
          b.released_at,
          b.acknowledged_at,
          b.idempotency_key
