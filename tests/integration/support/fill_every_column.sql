-- Gives every column of the record model a value that isn't null, and every text column the text of the setting
-- `test.tag`; keys, tickets and what decides eligibility stay as they are or become harmless.
DO $$
DECLARE
    tag CONSTANT text := current_setting('test.tag');
    place record;
BEGIN
    FOR place IN
        SELECT c.table_name,
               c.column_name,
               c.data_type
          FROM information_schema.columns AS c
         WHERE c.table_schema = 'public'
           AND c.table_name IN (
                   'violations', 'violation_details', 'violation_types', 'ticket_categories', 'locations',
                   'attachments', 'vehicles', 'vehicle_makes', 'vehicle_colours', 'vehicle_types', 'plate_types',
                   'provinces', 'users'
               )
           AND c.is_generated = 'NEVER'
           AND c.column_name NOT IN (
                   'Ticket', 'relatedType', 'ProcessedByCollection', 'SentToCollections', 'held_until', 'paid_total',
                   'Warning', 'duplicate', 'VehicleID', 'userid'
               )
    LOOP
        EXECUTE format(
            'UPDATE public.%I SET %I = %s',
            place.table_name,
            place.column_name,
            CASE place.data_type
                WHEN 'text' THEN quote_literal(tag)
                WHEN 'timestamp with time zone' THEN format('COALESCE(%I, ''2021-02-03 04:05:06.000007Z'')', place.column_name)
                WHEN 'uuid' THEN format('COALESCE(%I, ''0A0B0C0D-0000-4000-8000-00000000FFFF'')', place.column_name)
                WHEN 'boolean' THEN format('COALESCE(%I, true)', place.column_name)
                ELSE format('COALESCE(%I, 1)', place.column_name)
            END
        );
    END LOOP;
    UPDATE public.violations
       SET "Warning" = 0,
           duplicate = 0,
           "AdjustedFine" = 50,
           userid = (SELECT min(u."UserID") FROM public.users AS u);
END
$$;
