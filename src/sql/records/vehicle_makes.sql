-- A look-up table, read whole once a batch; its first column is the key.
SELECT l."MakeID",
       l."MakeName",
       l."modified"
  FROM public.vehicle_makes l
