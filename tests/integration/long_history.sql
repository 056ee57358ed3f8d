-- A tenant of many years: a million violations that were forgiven or paid, two hundred thousand of which were handed
-- over before, and ten that are eligible. Without triggers, which would check each foreign key row by row.
SET session_replication_role = replica;
SET synchronous_commit = off;

INSERT INTO violations ("Ticket", "TicketType", "Due", "Fine", "AdjustmentReason", paid_total, "VehicleID", userid,
                        "SentToCollections")
SELECT 'H-' || n,
       1 + n % 2,
       '2010-01-01Z'::timestamptz + n * interval '5 minutes',
       50,
       CASE WHEN n % 3 = 0 THEN 'forgiven' END,
       CASE WHEN n % 3 = 0 THEN 0 ELSE 50 END,
       1 + n % 50000,
       CASE WHEN n % 10 = 0 THEN 1 + n % 50000 END,
       CASE WHEN n <= 200000 THEN '2020-01-01Z'::timestamptz END
  FROM generate_series(1, 1000000) AS n;

INSERT INTO violations ("Ticket", "TicketType", "Due", "Fine", "VehicleID", userid)
SELECT 'E-' || n, 1, '2019-01-01Z'::timestamptz + n * interval '1 day', 50, n, n
  FROM generate_series(1, 10) AS n;

INSERT INTO vehicles ("Plate") SELECT 'P' || n FROM generate_series(1, 50000) AS n;
INSERT INTO users ("lastName") SELECT 'N' || n FROM generate_series(1, 50000) AS n;
INSERT INTO vehicle_drivers ("VehicleID", "UserID", primary_driver) SELECT n, n, true FROM generate_series(1, 50000) AS n;
INSERT INTO violation_types DEFAULT VALUES;
INSERT INTO violation_details ("ViolationID", "ViolationTypeID") SELECT 10 * n, 1 FROM generate_series(1, 100000) AS n;
INSERT INTO attachments ("relatedType", "relatedID")
SELECT CASE WHEN n % 5 = 0 THEN 'USERS' ELSE 'VIOLATIONS' END, 10 * n
  FROM generate_series(1, 100000) AS n;

INSERT INTO collection_batches (claim_id, token_id, state, violation_ids, claimed_at, lease_until, gateway, released_at)
SELECT gen_random_uuid(), 1, 'released', ARRAY(SELECT generate_series(200 * n - 199, 200 * n)),
       '2020-01-01Z', '2020-01-01Z', 'before', '2020-01-01Z'
  FROM generate_series(1, 1000) AS n;

RESET session_replication_role;
ANALYZE;
