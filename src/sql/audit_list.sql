-- What operators did, newest first.
-- $1 double only the last so many seconds, $2 timestamptz only since then, $3 text only this action, $4 text only what was
-- done to this object; null: any. $5 bigint at most
SELECT a.audit_id,
       a.at,
       a.actor,
       a.role,
       a.action,
       a.object,
       a.reason,
       a.request_id,
       a.detail::text AS detail
  FROM public.audit_log a
 WHERE ($1::double precision IS NULL OR a.at >= statement_timestamp() - make_interval(secs => $1))
   AND ($2::timestamptz IS NULL OR a.at >= $2)
   AND ($3::text IS NULL OR a.action = $3)
   AND ($4::text IS NULL OR a.object = $4)
 ORDER BY a.audit_id DESC
 LIMIT $5
