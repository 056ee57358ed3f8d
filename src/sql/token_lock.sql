-- Two who rotate a token at once come one after the other. A statement of its own: only one that begins after the wait sees
-- the successor that the first of them issued.
-- $1 bigint token_id
SELECT t.token_id
  FROM public.api_tokens t
 WHERE t.token_id = $1
   FOR NO KEY UPDATE
