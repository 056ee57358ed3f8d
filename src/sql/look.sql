-- What the sweep shows operators of a tenant's ledger: open batches, and released ones that nobody acknowledged.
-- The newest 1000 batches by their primary key, so that a look costs the same after many years. A vendor need not
-- acknowledge: batches count as unacknowledged only where their token has acknowledged another one among these.
-- Times in seconds since 1970.
WITH newest AS MATERIALIZED (
    SELECT b.token_id,
           b.state,
           b.released_at,
           b.acknowledged_at,
           b.requeued_at
      FROM public.collection_batches b
     ORDER BY b.batch_id DESC
     LIMIT 1000
),
unacknowledged AS (
    SELECT n.released_at
      FROM newest n
     WHERE n.state = 'released'
       AND n.acknowledged_at IS NULL
       AND n.requeued_at IS NULL
       AND n.token_id IN (SELECT a.token_id FROM newest a WHERE a.acknowledged_at IS NOT NULL)
),
opened AS (
    SELECT b.claimed_at,
           b.lease_until
      FROM public.collection_batches b
     WHERE b.state = 'open'
)
SELECT extract(epoch FROM statement_timestamp())::float8 AS looked_at,
       (SELECT count(*) FROM opened) AS open,
       (SELECT extract(epoch FROM min(o.claimed_at))::float8 FROM opened o) AS open_since,
       (SELECT extract(epoch FROM min(o.lease_until))::float8 FROM opened o) AS lease_ends,
       (SELECT count(*) FROM unacknowledged) AS unacknowledged,
       (SELECT extract(epoch FROM min(u.released_at))::float8 FROM unacknowledged u) AS unacknowledged_since
