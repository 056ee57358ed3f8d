-- Which of a list of tokens are in the table already, by their places in it (from 1), and which of a list of times are over.
-- $1 bytea[] SHA-256 of each token, $2 timestamptz[] when each expires, or null
SELECT item.position,
       EXISTS (
           SELECT
             FROM public.api_tokens t
            WHERE t.token_sha256 = item.token_sha256
       ) AS known,
       COALESCE(item.expires_at <= statement_timestamp(), false) AS over
  FROM unnest($1, $2) WITH ORDINALITY AS item (token_sha256, expires_at, position)
 ORDER BY item.position
