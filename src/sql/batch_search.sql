-- Which vendor received which violations, and when: the record of disclosures. Newest first.
-- $1 text only batches that hold this ticket, $2 integer only those that disclosed this person (as the one whom a ticket was
-- written to, or as a driver), $3 text only this state; null: any. $4 bigint at most
-- A batch that wasn't released has no list of persons; a part of it may have been read: there, whoever the violations'
-- links name today is taken as disclosed.
WITH violation AS MATERIALIZED (
    SELECT v."ViolationID"
      FROM public.violations v
     WHERE v."Ticket" = $1
     UNION
    SELECT v."ViolationID"
      FROM public.violations v
     WHERE v.userid = $2
     UNION
    SELECT v."ViolationID"
      FROM public.vehicle_drivers d
      JOIN public.violations v
        ON v."VehicleID" = d."VehicleID"
     WHERE d."UserID" = $2
)
SELECT b.batch_id,
       b.vendor,
       b.field_profile,
       b.state,
       b.record_count,
       b.claimed_at,
       b.released_at,
       b.acknowledged_at,
       b.voided_at,
       b.void_reason,
       b.replayed_at,
       b.requeued_at,
       b.requeued_by,
       b.requeue_reason,
       b.idempotency_key,
       b.request_id,
       b.gateway
  FROM public.collection_batches b
 WHERE ($3::text IS NULL OR b.state = $3)
   AND (
       ($1::text IS NULL AND $2::integer IS NULL)
       OR $2 = ANY (b.person_ids)
       OR (
           ($2 IS NULL OR b.person_ids IS NULL)
           AND b.violation_ids && ARRAY(SELECT violation."ViolationID" FROM violation)
       )
   )
 ORDER BY b.batch_id DESC
 LIMIT $4
