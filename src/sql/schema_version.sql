-- The newest migration that was applied; null where there is none.
SELECT max(h.version) AS version
  FROM public.refinery_schema_history h
