-- Nearly every violation gets a second version in its life: it is paid, or it is sent to collections. Both move it in or out
-- of a partial index, so neither is a HOT update, and each of these indexes gets a second entry beside the first.
-- Pages that are filled to 90 percent have no room for them: a claim then searches page after page for entries to clear away,
-- in vain, for they are its own, and splits the pages. Half-filled ones take the entries as they are; in the end they are as
-- large. It took a fifth off a claim of 10,000 (docs/PERFORMANCE.md).
-- An index keeps its old pages until it is rebuilt: REINDEX INDEX CONCURRENTLY does so while the tenant is served.
ALTER INDEX public.violations_pkey SET (fillfactor = 50);
ALTER INDEX public."violations_Ticket_key" SET (fillfactor = 50);
ALTER INDEX public.violations_vehicle SET (fillfactor = 50);
ALTER INDEX public.violations_user SET (fillfactor = 50);
