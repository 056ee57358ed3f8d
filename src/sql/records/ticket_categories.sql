-- A look-up table, read whole once a batch; its first column is the key.
SELECT l."TicketTypeID",
       l."TicketTypeName",
       l."HandHeldVisible",
       l."modified",
       l."archived",
       l."appliesTo",
       l."enableFailToIdentify"
  FROM public.ticket_categories l
