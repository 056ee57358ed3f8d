-- $1 integer[] ViolationIDs of a chunk
SELECT d."ViolationsDetailID",
       d."ViolationID",
       d."Ticket",
       d."ViolationTypeID",
       d."LocationID",
       d."offenceFine",
       d."discountFlag",
       d."discountAmount",
       d."discountHours",
       d."created"
  FROM public.violation_details d
 WHERE d."ViolationID" = ANY ($1)
 ORDER BY d."ViolationID", d."ViolationsDetailID"
