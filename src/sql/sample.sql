-- Fills a migrated database with data for tests and load tests; run again, it adds.
--
--     PGOPTIONS='-c turnpike.sample_violations=1000 -c turnpike.sample_history=0 -c turnpike.sample_seed=1' \
--         psql -v ON_ERROR_STOP=1 -d oc_toma -f src/sql/sample.sql
--
-- Makes exactly sample_violations eligible violations (no grace, no minimum, no excluded category) and exactly
-- sample_history that are not eligible, and will not become so as time passes: every date is fixed.
-- Everything is drawn by hashing (seed, number), so the same seed on the same state gives the same data.
-- The texts are meant to hurt: accents, emoji, quotes, backslashes and control characters in ordinary fields.
-- No transaction statements: the DO block is one, and a driver can run this file as one batch.

CREATE OR REPLACE FUNCTION pg_temp.draw(key bigint, dice bigint, choices integer)
RETURNS integer
LANGUAGE sql
IMMUTABLE
RETURN ((hashint8extended(key, dice) & 9223372036854775807) % choices)::integer;

CREATE OR REPLACE FUNCTION pg_temp.draw_uuid(key bigint, dice bigint)
RETURNS uuid
LANGUAGE sql
IMMUTABLE
RETURN (
    lpad(to_hex(hashint8extended(key, dice)), 16, '0')
    || lpad(to_hex(hashint8extended(-key, dice)), 16, '0')
)::uuid;

DO $$
DECLARE
    eligible_count CONSTANT bigint := current_setting('turnpike.sample_violations')::integer;
    history_count CONSTANT bigint := current_setting('turnpike.sample_history')::integer;
    seed CONSTANT bigint := current_setting('turnpike.sample_seed')::bigint;

    -- Added to by a number of its own wherever something is drawn. Halved, so that adding never overflows.
    dice CONSTANT bigint := hashint8extended(seed, 0) / 2;

    ticket_count CONSTANT bigint := eligible_count + history_count;
    vehicle_count CONSTANT integer := (ticket_count + 2) / 3;
    user_count CONSTANT integer := (vehicle_count + 1) / 2;

    last_user integer;
    last_vehicle integer;
    last_violation integer;
    last_detail integer;
    last_attachment integer;
    key record;

    first_names CONSTANT text[] := ARRAY[
        'José', 'Zoë', 'Łukasz', 'Renée', 'Søren', 'Mary Ann', 'Björk', 'Đorđe', 'Aïcha', 'Thị Hương', '小明', 'Мария',
        'D''Arcy', 'Anne-Marie', 'يوسف', 'Jane', 'Robert', 'Stephen', 'Amélie', 'Noah'
    ];
    last_names CONSTANT text[] := ARRAY[
        'O''Connor', 'Müller', 'Nguyễn', 'García Márquez', 'Smith', 'Tremblay', 'Côté', 'Łękawski', '李', 'Иванова',
        'van der "Berg"', 'Back\slash', 'Gagné', 'Singh', 'Roy', 'MacDonald', 'Åström', 'D’Angelo', 'Null', 'Lévesque'
    ];
    streets CONSTANT text[] := ARRAY[
        'Main Street', 'rue Saint-Honoré', 'Chemin de la Côte-des-Neiges', 'King''s Road', 'Avenue "A"', 'Elm St. \ rear',
        'Königstraße', 'Promenade des Érables', E'Dock\tRoad', 'Wellington Street West'
    ];
    cities CONSTANT text[] := ARRAY[
        'Ottawa', 'Montréal', 'Québec', 'Trois-Rivières', 'St. John''s', 'Toronto', 'Gatineau', 'Lévis'
    ];
    comments CONSTANT text[] := ARRAY[
        'Vehicle parked across two stalls.',
        'Véhicule garé sur la pelouse, près de l''entrée nº 3 — pas de vignette',
        'Driver said "five minutes", was gone for 40',
        'Photo on C:\tickets\2019\IMG_0042.jpg',
        E'First line\nsecond line\r\nthird line\twith a tab',
        'No permit visible 🚗💨 🅿️ 👨‍👩‍👧',
        E'Scanner noise: \x01\x02\x08\x0b\x0c\x1b[0m\x1f\x7f',
        E'line\u2028separator, next\u0085line, zero\u200bwidth, no-break\u00a0space, byte order\ufeffmark',
        '</script><b>& "quoted" \u0041 {"json": [1, 2]}',
        '  leading and trailing blanks  ',
        '',
        'مركبة متوقفة أمام المخرج',
        '消防車通道に駐車 𠮷野家の前'
    ];
    fines CONSTANT numeric[] := ARRAY[50, 12.5, 0.1, 99.9999, 25, 75, 120, 35.75, 100, 1234.56, 30, 65];
BEGIN
    -- Two runs at once would draw the same numbers.
    PERFORM pg_advisory_xact_lock(hashtextextended('turnpike.sample', 0));
    -- A day's length, hence the data, would depend on the session's time zone.
    PERFORM set_config('TimeZone', 'UTC', true);
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM set_config('work_mem', '256MB', true);

    -- Look-ups: whatever already has a number keeps it, and the rows below refer to numbers only.
    INSERT INTO public.vehicle_makes ("MakeID", "MakeName", modified)
    SELECT n, name, '2020-10-15 20:13:11+00'
    FROM unnest(ARRAY[
        'Ford', 'Toyota', 'Honda', 'Citroën', 'Škoda', 'Hyundai', 'Mazda', 'Subaru', 'Volkswagen', 'Tesla', 'Kia', 'BMW'
    ]) WITH ORDINALITY AS t (name, n)
    ON CONFLICT DO NOTHING;

    INSERT INTO public.vehicle_colours ("ColourID", "ColourName", "ColourKey", modified)
    SELECT n, name, CASE WHEN n % 2 = 0 THEN upper(left(name, 3)) END, '2020-10-15 20:13:08+00'
    FROM unnest(ARRAY[
        'White', 'Black', 'Grey', 'Silver', 'Blue', 'Green', 'Beige', 'Crème brûlée', 'Gold', 'Orange'
    ]) WITH ORDINALITY AS t (name, n)
    ON CONFLICT DO NOTHING;

    INSERT INTO public.vehicle_types ("TypeID", "TypeName", modified)
    SELECT n, name, '2020-10-15 20:13:13+00'
    FROM unnest(ARRAY['Sedan', 'Pickup', 'Van', 'Motorcycle', 'Compact', 'SUV']) WITH ORDINALITY AS t (name, n)
    ON CONFLICT DO NOTHING;

    INSERT INTO public.plate_types ("TypeID", "TypeName", modified, "typeCode")
    SELECT n, name, '2022-04-15 20:58:56+00', CASE WHEN n < 4 THEN lower(name) END
    FROM unnest(ARRAY['Commercial', 'Diplomatic', 'Dealer', 'Passenger']) WITH ORDINALITY AS t (name, n)
    ON CONFLICT DO NOTHING;

    INSERT INTO public.provinces ("ProvID", "ProvName", "Country", "ProvCode", modified, payments)
    SELECT n, name, 1, code, '2022-08-30 21:54:10+00', n % 2
    FROM unnest(
        ARRAY[
            'Alberta', 'British Columbia', 'Manitoba', 'New Brunswick', 'Newfoundland and Labrador', 'Nova Scotia',
            'Northwest Territories', 'Nunavut', 'Ontario', 'Prince Edward Island', 'Québec', 'Saskatchewan'
        ],
        ARRAY['AB', 'BC', 'MB', 'NB', 'NL', 'NS', 'NT', 'NU', 'ON', 'PE', 'QC', 'SK']
    ) WITH ORDINALITY AS t (name, code, n)
    ON CONFLICT DO NOTHING;

    INSERT INTO public.locations ("LocationID", "LocationName", "WriterVisible", "GisNo", modified)
    SELECT n, name, 1, n * 10, '2020-10-15 20:04:19+00'
    FROM unnest(ARRAY[
        'Lot A', 'Lot "B" (visitors)', 'Stationnement étagé P3', 'Library\Loading dock', 'Résidence Émile-Nelligan',
        'Downtown Business District', 'Stadium 🏟', 'Medical Centre'
    ]) WITH ORDINALITY AS t (name, n)
    ON CONFLICT DO NOTHING;

    INSERT INTO public.ticket_categories (
        "TicketTypeID", "TicketTypeName", "HandHeldVisible", modified, "appliesTo", "enableFailToIdentify"
    )
    SELECT n, name, n % 2, '2020-10-15 20:12:51+00', 1, 0
    FROM unnest(ARRAY['Campus', 'Municipal', 'Règlement intérieur', 'Conduct']) WITH ORDINALITY AS t (name, n)
    ON CONFLICT DO NOTHING;

    INSERT INTO public.violation_types (
        "ViolationTypeID", "ViolationDescr", "DefaultCost", created, "discountFlag", "discountAmount", "discountHours",
        "adminOnly", violationkey, modified, category_id, adjustable, bylawcode
    )
    SELECT
        n, name, fines[n], '2020-10-15 20:13:41+00', n % 2 = 0, n * 0.25, 168,
        n % 5 = 0, CASE WHEN n % 3 = 0 THEN 'K' || n END, '2020-10-15 20:13:41+00', 1, n % 4 = 0, 'BL-' || 70 + n
    FROM unnest(ARRAY[
        'No Valid Permit', 'Expired Meter', 'Fire Route', 'Blocking Traffic', 'Stationné en zone interdite',
        'Accessible Space Without Permit', 'Over 2 Hours', 'Backed In', 'Parked in Loading Zone', 'Noise "after hours"'
    ]) WITH ORDINALITY AS t (name, n)
    ON CONFLICT DO NOTHING;

    SELECT COALESCE(max("UserID"), 0) INTO last_user FROM public.users;
    SELECT COALESCE(max("VehicleID"), 0) INTO last_vehicle FROM public.vehicles;
    SELECT COALESCE(max("ViolationID"), 0) INTO last_violation FROM public.violations;
    SELECT COALESCE(max("ViolationsDetailID"), 0) INTO last_detail FROM public.violation_details;
    SELECT COALESCE(max("attachID"), 0) INTO last_attachment FROM public.attachments;

    -- What each violation is to be. The eligible ones are spread evenly: a claim reads them from among the history.
    CREATE TEMPORARY TABLE sample_tickets ON COMMIT DROP AS
    SELECT
        (last_violation + i)::integer AS id,
        CASE
            WHEN i * eligible_count / ticket_count > (i - 1) * eligible_count / ticket_count THEN 'eligible'
            ELSE (
                -- Most tickets ever written are paid and never sent.
                CASE width_bucket(pg_temp.draw(last_violation + i, dice + 1, 100), ARRAY[1, 3, 5, 7, 10, 13, 17, 35])
                    WHEN 0 THEN 'held'
                    WHEN 1 THEN 'not due'
                    WHEN 2 THEN 'appealed'
                    WHEN 3 THEN 'duplicate'
                    WHEN 4 THEN 'spoiled'
                    WHEN 5 THEN 'warning'
                    WHEN 6 THEN 'sent'
                    WHEN 7 THEN 'processed'
                    ELSE 'paid'
                END
            )
        END AS fate,
        -- From 2015 to 2023: long over by any clock, and so is whatever follows within a year.
        timestamptz '2015-01-01 00:00:00+00'
            + pg_temp.draw(last_violation + i, dice + 2, 3287 * 86400) * interval '1 second'
            + CASE
                WHEN pg_temp.draw(last_violation + i, dice + 3, 4) = 0
                    THEN pg_temp.draw(last_violation + i, dice + 4, 1000000) * interval '1 microsecond'
                ELSE interval '0'
            END AS issued
    FROM generate_series(1, ticket_count) AS i;

    ANALYZE sample_tickets;

    INSERT INTO public.users (
        "UserID", enabled, salutation, "firstName", "middleName", "lastName", username, email,
        street, city, prov, postal, street2, city2, prov2, postal2, phonecell,
        status, "UserTypeID", "employNo", "deptNameID", "ePhone", "staffFacultyFlag", "studentNo", "sPhone",
        "lastUpdated", created, "privateComment", "publicComment", "DLNum", "DOB", "StaffMailPermit", "ExtendedID",
        "UserUUID", "CampusBox", "newEmail", "studentNo_int", "employNo_int", "StuCampusLocation", "MailPermitTo",
        "isCloudAccount", "lastSelfUpdated", "emailConsent", "T2P_reminders", "reminderTime", encid, preferredname,
        "plateAlert", "peopleAlert", salt, "forcePasswordChange", "lastpasswordchange", "DLprov", "loginSource",
        company_id, taxexemption, company_manager, receives_invoice, account_number, kais_employer, kais_building,
        kais_supervisor_name, register_token, api_token, modified, bambora_customer_code, language,
        preferred_communication_method
    )
    SELECT
        u.id,
        CASE u.kind WHEN 0 THEN NULL WHEN 1 THEN 0 ELSE 1 END,
        CASE u.kind WHEN 2 THEN 'Dr.' WHEN 3 THEN 'Mme' WHEN 4 THEN 'Mr.' END,
        first_names[1 + pg_temp.draw(u.id, dice + 101, 20)],
        CASE WHEN u.kind = 5 THEN first_names[1 + pg_temp.draw(u.id, dice + 102, 20)] END,
        last_names[1 + pg_temp.draw(u.id, dice + 103, 20)],
        'user' || u.id,
        CASE WHEN u.kind <> 6 THEN 'user' || u.id || '@example.org' END,
        1 + pg_temp.draw(u.id, dice + 104, 9999) || ' ' || streets[1 + pg_temp.draw(u.id, dice + 105, 10)],
        cities[1 + pg_temp.draw(u.id, dice + 106, 8)],
        1 + pg_temp.draw(u.id, dice + 107, 12),
        'K1A0B' || u.id % 10,
        CASE WHEN u.kind = 7 THEN 'Apt. #' || u.id % 300 END,
        CASE WHEN u.kind = 7 THEN 'Gatineau' END,
        CASE WHEN u.kind = 7 THEN 11 END,
        CASE WHEN u.kind = 7 THEN 'J8X 2K1' END,
        CASE WHEN u.kind <> 8 THEN '613555' || lpad((u.id % 10000)::text, 4, '0') END,
        1,
        1 + u.kind % 7,
        CASE WHEN u.kind % 4 = 0 THEN 'E' || u.id END,
        CASE WHEN u.kind % 4 = 0 THEN u.id % 40 END,
        CASE WHEN u.kind % 4 = 0 THEN '+1 (613) 555-0199 ext. ' || u.id % 1000 END,
        CASE WHEN u.kind % 4 = 0 THEN 1 ELSE 0 END,
        CASE WHEN u.kind % 4 = 1 THEN '30' || u.id END,
        CASE WHEN u.kind % 4 = 1 THEN '819-555-0123' END,
        timestamptz '2022-08-29 21:31:12+00' - u.id % 1000 * interval '1 day',
        timestamptz '2014-10-15 20:12:57+00' - u.id % 1000 * interval '1 day',
        CASE WHEN u.kind = 9 THEN comments[1 + pg_temp.draw(u.id, dice + 108, 13)] END,
        CASE WHEN u.kind = 10 THEN comments[1 + pg_temp.draw(u.id, dice + 109, 13)] END,
        CASE WHEN u.kind <> 11 THEN 'DL ' || u.id END,
        -- From 1930: an epoch of 1970 is not where dates begin.
        CASE
            WHEN u.kind <> 12
                THEN timestamptz '1930-01-01 05:00:00+00' + pg_temp.draw(u.id, dice + 110, 28000) * interval '1 day'
        END,
        0,
        CASE WHEN u.kind = 13 THEN 'X-' || u.id END,
        pg_temp.draw_uuid(u.id, dice + 111),
        CASE WHEN u.kind = 14 THEN 'Box "' || u.id || '"' END,
        CASE WHEN u.kind = 15 THEN 'new' || u.id || '@example.org' END,
        CASE WHEN u.kind % 4 = 1 THEN u.id END,
        CASE WHEN u.kind % 4 = 0 THEN u.id END,
        CASE WHEN u.kind % 4 = 1 THEN 'Résidence' END,
        'Permanent Mailing Address',
        CASE WHEN u.kind < 10 THEN u.kind % 2 END,
        CASE WHEN u.kind = 16 THEN timestamptz '2021-01-01 00:00:00.000001+00' END,
        CASE WHEN u.kind < 8 THEN u.kind % 2 END,
        CASE WHEN u.kind < 6 THEN u.kind % 2 END,
        CASE WHEN u.kind < 6 THEN u.kind * 10 END,
        upper(lpad(to_hex(hashint8extended(u.id, dice + 112)), 16, '0')),
        CASE WHEN u.kind = 17 THEN 'Zoë 🌻' END,
        0,
        0,
        pg_temp.draw_uuid(u.id, dice + 113)::text,
        u.kind % 2,
        CASE WHEN u.kind = 18 THEN timestamptz '2020-02-29 12:00:00+00' END,
        CASE WHEN u.kind = 19 THEN 66 ELSE 9 END,
        CASE WHEN u.kind % 3 = 0 THEN 'SAML' ELSE 'OPSCOM' END,
        CASE WHEN u.kind = 1 THEN u.id % 50 END,
        CASE WHEN u.kind = 1 THEN 0 END,
        CASE WHEN u.kind = 1 THEN 1 END,
        CASE WHEN u.kind = 1 THEN 1 END,
        CASE WHEN u.kind = 1 THEN 'ACC-' || u.id END,
        CASE WHEN u.kind = 2 THEN 'Hôpital général' END,
        CASE WHEN u.kind = 2 THEN 'Bâtiment nº 5' END,
        CASE WHEN u.kind = 2 THEN 'S. O''Neil' END,
        CASE WHEN u.kind = 3 THEN 'register-' || u.id END,
        CASE WHEN u.kind = 4 THEN 'user-token-' || u.id END,
        timestamptz '2022-08-29 21:36:24+00',
        CASE WHEN u.kind = 5 THEN 'bambora-' || u.id END,
        CASE u.kind % 3 WHEN 0 THEN 'fr' WHEN 1 THEN 'en' END,
        CASE WHEN u.kind = 6 THEN 'email' END
    FROM (
        SELECT
            last_user + i AS id,
            pg_temp.draw(last_user + i, dice + 100, 20) AS kind
        FROM generate_series(1, user_count) AS i
        OFFSET 0
    ) AS u;

    INSERT INTO public.vehicles (
        "VehicleID", "Active", "lastUpdate", "Plate", "PlateTypeID", "ProvID", "MakeID", "TypeID", "ColourID", "Year",
        "TotalVio", "TotalUnpaid", "TotalWarning", created, externallookupdate, "externallookupRequestID", modified,
        "vehicleAlert", vin
    )
    SELECT
        v.id,
        CASE WHEN v.kind = 0 THEN 0 ELSE 1 END,
        CASE WHEN v.kind <> 1 THEN timestamptz '2020-10-15 20:13:03+00' END,
        chr(65 + v.id % 26) || chr(65 + v.id / 26 % 26) || 'R' || lpad((v.id % 10000)::text, 4, '0'),
        -- "None" is null, 0 or -1, and a number may lead nowhere.
        CASE v.kind WHEN 2 THEN NULL WHEN 3 THEN 0 ELSE 1 + v.id % 4 END,
        CASE v.kind WHEN 4 THEN NULL WHEN 5 THEN -1 ELSE 1 + pg_temp.draw(v.id, dice + 201, 12) END,
        CASE v.kind WHEN 6 THEN NULL WHEN 7 THEN 999999 ELSE 1 + pg_temp.draw(v.id, dice + 202, 12) END,
        CASE v.kind WHEN 8 THEN NULL ELSE 1 + pg_temp.draw(v.id, dice + 203, 6) END,
        CASE v.kind WHEN 9 THEN NULL ELSE 1 + pg_temp.draw(v.id, dice + 204, 10) END,
        CASE v.kind WHEN 10 THEN NULL ELSE 1990 + pg_temp.draw(v.id, dice + 205, 34) END,
        pg_temp.draw(v.id, dice + 206, 5),
        -- Stale on purpose: nothing may decide on the counters.
        pg_temp.draw(v.id, dice + 207, 5),
        0,
        timestamptz '2014-10-15 20:13:03+00',
        CASE WHEN v.kind = 11 THEN timestamptz '2022-01-31 23:59:59.999999+00' END,
        CASE WHEN v.kind = 11 THEN v.id END,
        CASE WHEN v.kind <> 12 THEN timestamptz '2022-03-16 21:36:09+00' END,
        CASE WHEN v.kind = 13 THEN 'Stolen? "call" first' END,
        CASE WHEN v.kind = 14 THEN '1HGBH41JXMN' || lpad((v.id % 1000000)::text, 6, '0') END
    FROM (
        SELECT
            last_vehicle + i AS id,
            pg_temp.draw(last_vehicle + i, dice + 200, 25) AS kind
        FROM generate_series(1, vehicle_count) AS i
        OFFSET 0
    ) AS v;

    -- None to three drivers: neighbours, so that they differ. The primary one need not have the lowest number,
    -- and some vehicles have none.
    INSERT INTO public.vehicle_drivers ("VehicleID", "UserID", primary_driver, created)
    SELECT
        v.id,
        last_user + 1 + (v.first_driver + d) % user_count,
        d = CASE v.drivers WHEN 1 THEN 0 ELSE v.id % 3 END,
        timestamptz '2020-10-15 20:13:03+00'
    FROM (
        SELECT
            last_vehicle + i AS id,
            pg_temp.draw(last_vehicle + i, dice + 300, user_count) AS first_driver,
            ('{0,0,1,1,1,1,1,1,2,3}'::integer[])[1 + pg_temp.draw(last_vehicle + i, dice + 301, 10)] AS drivers
        FROM generate_series(1, vehicle_count) AS i
        OFFSET 0
    ) AS v
    CROSS JOIN generate_series(0, 2) AS d
    WHERE d < LEAST(v.drivers, user_count);

    INSERT INTO public.violations (
        "ViolationID", "SemPermitID", "Ticket", "VehicleID", "Spoiled", "TicketType", "Issued", "convNotice", "Due",
        "ViolationTypeID", "Fine", "AdjustedFine", "Towing", "taxAmount", "Writer", "LocationID", "Comment",
        "TicketAppeal", "appealType", "appealFormat", "AccessAdminID", "ActionedPer", "Created", "AppealUserID",
        "AppealProcessDate", "AppealAdminID", "AppealComment", "AppealAdminComment", "AutoNotice",
        "ProcessedByCollection", "SentToCollections", "PrivateComments", "DriveAway", "UUID", "VioNotice",
        latitude, longitude, "Warning", userid, "incidentID", "failToIdentify", pin, duplicate, "AdjustmentReason"
    )
    SELECT
        t.id,
        CASE WHEN t.kind % 2 = 0 THEN 0 END,
        -- Not the documented sample's way of numbering: 1-100013 is taken there.
        'S-' || t.id,
        CASE WHEN t.kind NOT BETWEEN 0 AND 5 THEN last_vehicle + 1 + pg_temp.draw(t.id, dice + 401, vehicle_count) END,
        CASE WHEN t.fate = 'spoiled' THEN 1 ELSE 0 END,
        1 + pg_temp.draw(t.id, dice + 402, 4),
        t.issued,
        CASE WHEN t.kind BETWEEN 40 AND 49 THEN t.issued + interval '30 days' END,
        CASE
            WHEN t.fate <> 'not due' THEN t.issued + interval '20 days'
            WHEN t.kind < 50 THEN t.issued + interval '100 years'
        END,
        CASE WHEN t.kind BETWEEN 50 AND 59 THEN 1 + t.id % 10 ELSE -1 END,
        fines[1 + pg_temp.draw(t.id, dice + 403, 12)],
        CASE WHEN t.kind BETWEEN 10 AND 15 THEN 7.25 ELSE 0 END,
        CASE t.kind WHEN 16 THEN 125 WHEN 17 THEN 87.3333 ELSE 0 END,
        CASE WHEN t.kind % 4 = 1 THEN 6.5000 WHEN t.kind = 20 THEN 0.0001 ELSE 0 END,
        1 + t.kind % 8,
        CASE WHEN t.kind NOT BETWEEN 21 AND 24 THEN 1 + pg_temp.draw(t.id, dice + 404, 8) END,
        CASE
            WHEN pg_temp.draw(t.id, dice + 405, 200) = 0 THEN rpad('', 2048, 'Très longue remarque — "citée" \ 🧾. ')
            WHEN t.kind BETWEEN 25 AND 49 THEN comments[1 + pg_temp.draw(t.id, dice + 406, 13)]
        END,
        CASE WHEN t.fate = 'appealed' OR t.appealed THEN t.issued + interval '3 days' END,
        CASE WHEN t.fate = 'appealed' OR t.appealed THEN 1 ELSE 0 END,
        CASE WHEN t.fate = 'appealed' OR t.appealed THEN 'online' END,
        CASE WHEN t.kind % 3 = 0 THEN 7 END,
        CASE WHEN t.kind = 60 THEN 'By-law 2004-276, s. 5' END,
        t.issued + interval '1 second',
        CASE WHEN t.appealed THEN 3 ELSE 0 END,
        CASE WHEN t.fate <> 'appealed' AND t.appealed THEN t.issued + interval '12 days' END,
        CASE WHEN t.appealed THEN 4 ELSE 0 END,
        CASE
            WHEN t.fate = 'appealed' OR t.appealed
                THEN 'I wasn''t there! ' || comments[1 + pg_temp.draw(t.id, dice + 407, 13)]
        END,
        CASE WHEN t.fate <> 'appealed' AND t.appealed THEN 'Dismissed: "see photo"' END,
        t.kind % 3,
        CASE WHEN t.fate = 'processed' THEN t.issued + interval '120 days' END,
        CASE WHEN t.fate IN ('sent', 'processed') THEN t.issued + interval '90 days' END,
        CASE WHEN t.kind BETWEEN 61 AND 64 THEN comments[1 + pg_temp.draw(t.id, dice + 408, 13)] END,
        CASE WHEN t.kind = 65 THEN 1 ELSE 0 END,
        CASE WHEN t.kind <> 66 THEN pg_temp.draw_uuid(t.id, dice + 409) END,
        CASE WHEN t.kind BETWEEN 67 AND 69 THEN t.issued + interval '10 days' END,
        CASE WHEN t.kind % 3 = 0 THEN 45.4 + pg_temp.draw(t.id, dice + 410, 1000000) / 10000000.0 END,
        CASE WHEN t.kind % 3 = 0 THEN -75.6 - pg_temp.draw(t.id, dice + 411, 1000000) / 10000000.0 END,
        CASE WHEN t.fate = 'warning' THEN 1 WHEN t.kind % 5 = 0 THEN 0 END,
        -- A ticket of a person rather than a vehicle, and some of both.
        CASE
            WHEN t.kind BETWEEN 0 AND 3 OR t.kind BETWEEN 70 AND 79
                THEN last_user + 1 + pg_temp.draw(t.id, dice + 412, user_count)
        END,
        CASE WHEN t.kind = 80 THEN t.id END,
        CASE WHEN t.kind BETWEEN 81 AND 84 THEN t.kind % 2 END,
        CASE WHEN t.kind = 85 THEN lpad((t.id % 10000)::text, 4, '0') END,
        CASE
            WHEN t.fate = 'duplicate' THEN GREATEST(t.id - 1, 1)
            WHEN t.kind % 7 = 0 THEN 0
            WHEN t.kind % 7 = 1 THEN -1
        END,
        CASE
            WHEN t.kind BETWEEN 10 AND 12 THEN 'Réduit par le comité'
            -- Blank is no reason: the full fine stays due.
            WHEN t.kind = 86 THEN '   '
            WHEN t.kind = 87 THEN ''
        END
    FROM (
        SELECT
            s.id,
            s.fate,
            s.issued,
            pg_temp.draw(s.id, dice + 400, 100) AS kind,
            pg_temp.draw(s.id, dice + 413, 12) = 0 AS appealed
        FROM sample_tickets AS s
        OFFSET 0
    ) AS t;

    -- One to three for each violation.
    INSERT INTO public.violation_details (
        "ViolationsDetailID", "ViolationID", "Ticket", "ViolationTypeID", "LocationID", "offenceFine", "discountFlag",
        "discountAmount", "discountHours", created
    )
    SELECT
        last_detail + row_number() OVER (),
        t.id,
        'S-' || t.id,
        1 + (t.first_type + d) % 10,
        CASE WHEN t.first_type <> 0 THEN 1 + t.id % 8 END,
        fines[1 + (t.first_type + d) % 12],
        t.id % 2,
        CASE WHEN t.id % 2 = 1 THEN 10 ELSE 0 END,
        CASE WHEN t.id % 2 = 1 THEN 168 ELSE 0 END,
        CASE WHEN t.first_type <> 1 THEN t.issued + interval '1 second' END
    FROM (
        SELECT
            s.id,
            s.issued,
            pg_temp.draw(s.id, dice + 500, 10) AS first_type,
            ('{0,0,0,0,0,0,0,1,1,2}'::integer[])[1 + pg_temp.draw(s.id, dice + 501, 10)] AS more
        FROM sample_tickets AS s
        OFFSET 0
    ) AS t
    CROSS JOIN LATERAL generate_series(0, t.more) AS d;

    -- None to three for an eligible violation, fewer in the history; some of them belong to something else that
    -- happens to have the same number.
    INSERT INTO public.attachments (
        "attachID", "storageLocation", "attachName", "attachExt", "attachMime", "relatedType", "relatedID",
        "relatedNote", created, archived, uniqueid
    )
    SELECT
        last_attachment + row_number() OVER (),
        'sample/VIOLATIONS/' || to_char(t.issued, 'YYYY/MM/DD') || '/photo-' || t.id || '-' || a || '.jpg',
        CASE WHEN t.kind = 0 THEN 'Été "façade" \ ' || a ELSE 'photo-' || t.id || '-' || a END,
        'jpg',
        'image/jpeg',
        CASE WHEN t.kind = 1 THEN 'PERMITS' ELSE 'VIOLATIONS' END,
        t.id,
        CASE WHEN t.kind <> 2 THEN 'S-' || t.id END,
        t.issued + interval '1 minute',
        CASE WHEN t.kind = 3 THEN t.issued + interval '200 days' END,
        pg_temp.draw_uuid(t.id, dice + 602 + a)
    FROM (
        SELECT
            s.id,
            s.issued,
            pg_temp.draw(s.id, dice + 600, 50) AS kind,
            CASE
                WHEN s.fate = 'eligible'
                    THEN ('{0,0,0,0,1,1,1,2,2,3}'::integer[])[1 + pg_temp.draw(s.id, dice + 601, 10)]
                ELSE ('{0,0,0,0,0,0,0,0,1,2}'::integer[])[1 + pg_temp.draw(s.id, dice + 601, 10)]
            END AS photos
        FROM sample_tickets AS s
        OFFSET 0
    ) AS t
    CROSS JOIN LATERAL generate_series(1, t.photos) AS a;

    -- The paid ones in full, a few of them with more than was due; of the eligible ones some in part, and a few by a
    -- payment that bounced.
    INSERT INTO public.payments ("ViolationID", amount, paid_at, source, reference)
    SELECT
        t.id,
        p.amount,
        t.issued + p.part * interval '8 days',
        ('{cashier,web,payroll}'::text[])[1 + t.id % 3],
        'S-' || t.id || '-' || p.part
    FROM (
        SELECT
            s.id,
            s.fate,
            s.issued,
            pg_temp.draw(s.id, dice + 700, 100) AS kind,
            public.violation_balance(
                v."Fine", v."AdjustedFine", v."AdjustmentReason", v."Towing", v."taxAmount", v.paid_total
            ) AS due
        FROM sample_tickets AS s
        JOIN public.violations AS v ON v."ViolationID" = s.id
        WHERE s.fate IN ('paid', 'eligible')
        OFFSET 0
    ) AS t
    CROSS JOIN LATERAL (
        VALUES
        (1, CASE WHEN t.fate = 'paid' AND t.kind >= 5 THEN t.due + CASE WHEN t.kind = 5 THEN 5 ELSE 0 END END),
        (1, CASE WHEN t.fate = 'paid' AND t.kind < 5 THEN round(t.due / 2, 4) END),
        (2, CASE WHEN t.fate = 'paid' AND t.kind < 5 THEN t.due - round(t.due / 2, 4) END),
        (1, CASE WHEN t.fate = 'eligible' AND t.kind < 8 THEN round(t.due / 3, 4) END),
        (1, CASE WHEN t.fate = 'eligible' AND t.kind = 8 THEN t.due END),
        (2, CASE WHEN t.fate = 'eligible' AND t.kind = 8 THEN -t.due END)
    ) AS p (part, amount)
    WHERE p.amount IS NOT NULL;

    -- In force on the held ones, for ever or until 2115 and later; over on some of the eligible ones.
    INSERT INTO public.collection_holds ("ViolationID", reason, placed_by, placed_at, until)
    SELECT
        t.id,
        ('{dispute at the ombudsman,payment plan,"bankruptcy, see file"}'::text[])[1 + t.id % 3],
        'sample',
        t.issued + interval '30 days',
        CASE
            WHEN t.fate = 'eligible' THEN t.issued + interval '60 days'
            WHEN t.id % 2 = 0 THEN t.issued + interval '100 years'
        END
    FROM sample_tickets AS t
    WHERE t.fate = 'held'
    OR (t.fate = 'eligible' AND pg_temp.draw(t.id, dice + 800, 30) = 0);

    -- Numbers were given by hand: the sequences follow, and never go back.
    FOR key IN
        SELECT
            a.attrelid::regclass::text AS table_name,
            quote_ident(a.attname) AS column_name,
            pg_get_serial_sequence(a.attrelid::regclass::text, a.attname) AS sequence_name
        FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'public'::regnamespace
        AND a.attidentity = 'd'
    LOOP
        EXECUTE format(
            'SELECT setval(%L, t.last)'
            ' FROM (SELECT max(%s) AS last FROM %s) AS t, %s AS s'
            ' WHERE t.last >= s.last_value',
            key.sequence_name, key.column_name, key.table_name, key.sequence_name
        );
    END LOOP;
END
$$;

DROP FUNCTION pg_temp.draw(bigint, bigint, integer), pg_temp.draw_uuid(bigint, bigint);

-- The claim's plans must know the new sizes at once, not when autovacuum comes by.
ANALYZE
    public.users, public.vehicles, public.vehicle_drivers, public.violations, public.violation_details,
    public.attachments, public.payments, public.collection_holds;
