-- Whose data a vendor holds, and since when: the record of disclosures that a privacy commissioner asks for.
--
-- A violation's links say who its person and drivers are today. What was sent is what stands here, written as the batch is
-- released, and widened by a replay that names somebody new. Null: not released, or released before this migration.

ALTER TABLE public.collection_batches
    ADD COLUMN person_ids integer[],
    -- The last time that the batch was handed over again.
    ADD COLUMN replayed_at timestamptz(6);
