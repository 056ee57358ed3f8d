-- A claim takes the oldest first, by "Due", and with a limit no more than it asks for. One index by the later of "Due" and
-- the end of a hold is in another order: each claim of 20 read and sorted all that was eligible (docs/PERFORMANCE.md).
-- Almost no violation was ever on hold: those that never were have an index in the answer's order, which is read
-- up to the limit, and the others one by the moment from which each may be handed over, so that neither what isn't due nor
-- what is on hold lies in a poll's way. Marking adds no entry to either.
DROP INDEX public.violations_collectable;

CREATE INDEX violations_collectable
    ON public.violations ("Due", "ViolationID")
    WHERE collectable AND "SentToCollections" IS NULL AND held_until IS NULL;

CREATE INDEX violations_once_held
    ON public.violations ((GREATEST("Due", held_until)), "ViolationID")
    WHERE collectable AND "SentToCollections" IS NULL AND held_until IS NOT NULL;
