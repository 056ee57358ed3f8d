-- Violations in the order of their batch. The columns below, in this order, are the wire's.
-- $1 integer[] their ViolationIDs; or, where they aren't known yet, $2 uuid claim_id, $3 integer how many of its first ones
-- "SentToCollections" shows the value from before the marking; a batch only ever takes rows where that was null.
-- "taxAmount" is text because the wire has it as a string with four decimals.
SELECT v."ViolationID",
       v."SemPermitID",
       v."Ticket",
       v."VehicleID",
       v."Spoiled",
       v."TicketType",
       v."Issued",
       v."convNotice",
       v."Due",
       v."ViolationTypeID",
       v."Fine",
       v."AdjustedFine",
       v."Towing",
       v."taxAmount"::text AS "taxAmount",
       v."Writer",
       v."LocationID",
       v."Comment",
       v."TicketAppeal",
       v."appealType",
       v."appealFormat",
       v."AccessAdminID",
       v."ActionedPer",
       v."Created",
       v."AppealUserID",
       v."AppealProcessDate",
       v."AppealAdminID",
       v."AppealComment",
       v."AppealAdminComment",
       v."AutoNotice",
       v."ProcessedByCollection",
       NULL::timestamptz AS "SentToCollections",
       v."PrivateComments",
       v."DriveAway",
       v."UUID",
       v."VioNotice",
       v."latitude",
       v."longitude",
       v."Warning",
       v."userid",
       v."incidentID",
       v."failToIdentify",
       v."pin",
       v."duplicate",
       v."AdjustmentReason"
  FROM unnest(
           COALESCE($1, (SELECT b.violation_ids[:$3] FROM public.collection_batches b WHERE b.claim_id = $2))
       ) WITH ORDINALITY AS item ("ViolationID", position)
  JOIN public.violations v
    ON v."ViolationID" = item."ViolationID"
 ORDER BY item.position
