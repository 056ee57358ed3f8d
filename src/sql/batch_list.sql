-- The batches of a token's line, newest first; void ones handed nothing over and requeued ones were taken back: neither is
-- shown. LATERAL: of each token of the line the index gives the newest alone, however many there are.
-- $1 bytea SHA-256 of the token, $2 bigint only batches before this one (null: from the newest), $3 bigint at most
SELECT b.batch_id,
       b.state,
       b.record_count,
       b.claimed_at,
       b.released_at,
       b.acknowledged_at,
       b.idempotency_key
  FROM public.api_tokens t
  JOIN public.api_tokens l
    ON l.token_line = t.token_line
 CROSS JOIN LATERAL (
        SELECT *
          FROM public.collection_batches newest
         WHERE newest.token_id = l.token_id
           AND newest.state <> 'void'
           AND newest.requeued_at IS NULL
           AND ($2::bigint IS NULL OR newest.batch_id < $2)
         ORDER BY newest.batch_id DESC
         LIMIT $3
       ) AS b
 WHERE t.token_sha256 = $1
 ORDER BY b.batch_id DESC
 LIMIT $3
