-- The history's violations again, under other numbers. $1 integer what is added to them, $2 integer the history's last number
INSERT INTO public.violations (
    "ViolationID", "Ticket", "VehicleID", "Spoiled", "TicketType", "Issued", "Due", "ViolationTypeID", "Fine", "AdjustedFine",
    "Towing", "taxAmount", "LocationID", "Comment", "TicketAppeal", "AppealProcessDate", "ProcessedByCollection",
    "SentToCollections", "UUID", "Warning", userid, duplicate, "AdjustmentReason", paid_total, held_until
)
SELECT v."ViolationID" + $1::integer,
       'S-' || (v."ViolationID" + $1::integer),
       v."VehicleID",
       v."Spoiled",
       v."TicketType",
       v."Issued",
       v."Due",
       v."ViolationTypeID",
       v."Fine",
       v."AdjustedFine",
       v."Towing",
       v."taxAmount",
       v."LocationID",
       v."Comment",
       v."TicketAppeal",
       v."AppealProcessDate",
       v."ProcessedByCollection",
       v."SentToCollections",
       v."UUID",
       v."Warning",
       v.userid,
       v.duplicate,
       v."AdjustmentReason",
       v.paid_total,
       v.held_until
  FROM public.violations v
 WHERE v."ViolationID" <= $2::integer
