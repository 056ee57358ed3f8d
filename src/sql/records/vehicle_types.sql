-- A look-up table, read whole once a batch; its first column is the key.
SELECT l."TypeID",
       l."TypeName",
       l."modified"
  FROM public.vehicle_types l
