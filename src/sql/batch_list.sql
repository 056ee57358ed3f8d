-- A token's own batches, newest first; void ones handed nothing over and requeued ones were taken back: neither is shown.
-- $1 bytea SHA-256 of the token, $2 bigint only batches before this one (null: from the newest), $3 bigint at most
SELECT b.batch_id,
       b.state,
       b.record_count,
       b.claimed_at,
       b.released_at,
       b.acknowledged_at,
       b.idempotency_key
  FROM public.api_tokens t
  JOIN public.collection_batches b
    ON b.token_id = t.token_id
 WHERE t.token_sha256 = $1
   AND b.state <> 'void'
   AND b.requeued_at IS NULL
   AND ($2::bigint IS NULL OR b.batch_id < $2)
 ORDER BY b.batch_id DESC
 LIMIT $3
