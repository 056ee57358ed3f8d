-- The form that PostgREST generates for embedded resources (`select=*,user:users(*),vehicle:vehicles(*,drivers(*),…),…`): each
-- one a LEFT JOIN LATERAL, to-one as row_to_json(x.*), to-many as json_agg(x)::jsonb. Dates and numbers have PostgreSQL's form,
-- not the wire's, and an embedded array loses its order of keys.
WITH pgrst_source AS (
    SELECT v.*,
           row_to_json(user_1.*)::jsonb AS "user",
           row_to_json(vehicle_1.*)::jsonb AS vehicle,
           row_to_json(location_1.*)::jsonb AS location,
           COALESCE(details_1.details_1, '[]') AS details,
           COALESCE(attachments_1.attachments_1, '[]') AS attachments,
           row_to_json(category_1.*)::jsonb AS category
      FROM public.violations v
      LEFT JOIN LATERAL (SELECT u.* FROM public.users u WHERE u."UserID" = v.userid) AS user_1 ON true
      LEFT JOIN LATERAL (
          SELECT c.*,
                 COALESCE(drivers_2.drivers_2, '[]') AS drivers,
                 row_to_json(make_2.*)::jsonb AS make,
                 row_to_json(colour_2.*)::jsonb AS colour,
                 row_to_json(vehicle_type_2.*)::jsonb AS vehicle_type,
                 row_to_json(plate_type_2.*)::jsonb AS plate_type,
                 row_to_json(province_2.*)::jsonb AS province
            FROM public.vehicles c
            LEFT JOIN LATERAL (
                SELECT json_agg(drivers_2)::jsonb AS drivers_2
                  FROM (
                      SELECT u.*
                        FROM public.users u, public.vehicle_drivers d
                       WHERE d."UserID" = u."UserID"
                         AND d."VehicleID" = c."VehicleID"
                       ORDER BY d.primary_driver DESC, u."UserID"
                  ) AS drivers_2
            ) AS drivers_2 ON true
            LEFT JOIN LATERAL (SELECT l.* FROM public.vehicle_makes l WHERE l."MakeID" = c."MakeID") AS make_2 ON true
            LEFT JOIN LATERAL (SELECT l.* FROM public.vehicle_colours l WHERE l."ColourID" = c."ColourID") AS colour_2 ON true
            LEFT JOIN LATERAL (SELECT l.* FROM public.vehicle_types l WHERE l."TypeID" = c."TypeID") AS vehicle_type_2 ON true
            LEFT JOIN LATERAL (SELECT l.* FROM public.plate_types l WHERE l."TypeID" = c."PlateTypeID") AS plate_type_2 ON true
            LEFT JOIN LATERAL (SELECT l.* FROM public.provinces l WHERE l."ProvID" = c."ProvID") AS province_2 ON true
           WHERE c."VehicleID" = v."VehicleID"
      ) AS vehicle_1 ON true
      LEFT JOIN LATERAL (
          SELECT l.* FROM public.locations l WHERE l."LocationID" = v."LocationID"
      ) AS location_1 ON true
      LEFT JOIN LATERAL (
          SELECT json_agg(details_1)::jsonb AS details_1
            FROM (
                SELECT d.*,
                       row_to_json(type_2.*)::jsonb AS type
                  FROM public.violation_details d
                  LEFT JOIN LATERAL (
                      SELECT l.* FROM public.violation_types l WHERE l."ViolationTypeID" = d."ViolationTypeID"
                  ) AS type_2 ON true
                 WHERE d."ViolationID" = v."ViolationID"
                 ORDER BY d."ViolationsDetailID"
            ) AS details_1
      ) AS details_1 ON true
      LEFT JOIN LATERAL (
          SELECT json_agg(attachments_1)::jsonb AS attachments_1
            FROM (
                SELECT a.*
                  FROM public.attachments a
                 WHERE a."relatedType" = 'VIOLATIONS'
                   AND a."relatedID" = v."ViolationID"
                 ORDER BY a."attachID"
            ) AS attachments_1
      ) AS attachments_1 ON true
      LEFT JOIN LATERAL (
          SELECT l.* FROM public.ticket_categories l WHERE l."TicketTypeID" = v."TicketType"
      ) AS category_1 ON true
     WHERE v.collectable
       AND v."SentToCollections" IS NULL
       AND v."Due" < now()
     ORDER BY v."Due", v."ViolationID"
)
SELECT COALESCE(json_agg(_postgrest_t), '[]')::text AS body
  FROM (SELECT * FROM pgrst_source) AS _postgrest_t
