-- $1 integer[] ViolationIDs of a chunk
SELECT a."attachID",
       a."storageLocation",
       a."attachName",
       a."attachExt",
       a."attachMime",
       a."relatedType",
       a."relatedID",
       a."relatedNote",
       a."created",
       a."archived",
       a."uniqueid"
  FROM public.attachments a
 WHERE a."relatedType" = 'VIOLATIONS'
   AND a."relatedID" = ANY ($1)
 ORDER BY a."relatedID", a."attachID"
