-- A look-up table, read whole once a batch; its first column is the key.
SELECT l."ColourID",
       l."ColourName",
       l."ColourKey",
       l."modified"
  FROM public.vehicle_colours l
