-- Why a violation is or is not eligible, rule by rule, in the order in which people ask; no rows for an unknown ticket.
-- $1 text: Ticket, $2 integer: grace_days, $3 numeric: minimum_balance, $4 integer[]: exclude_categories
--
-- Printed on a terminal and pasted into tickets: the details carry numbers, dates and the reason of a hold,
-- never a name, a plate or a comment.
WITH violation AS (
    SELECT
        v."ViolationID",
        v."Due",
        v."SentToCollections",
        v."ProcessedByCollection",
        v."Spoiled",
        v."Warning",
        v.duplicate,
        v."TicketAppeal",
        v."AppealProcessDate",
        v."AdjustedFine",
        v."Fine",
        v."Towing",
        v."taxAmount",
        v.paid_total,
        v."TicketType",
        v.held_until,
        public.violation_balance(
            v."Fine", v."AdjustedFine", v."AdjustmentReason", v."Towing", v."taxAmount", v.paid_total
        ) AS balance,
        -- What violation_balance takes the fine to be, found without repeating its rule.
        public.violation_balance(v."Fine", v."AdjustedFine", v."AdjustmentReason", 0, 0, 0) AS fine_due
    FROM public.violations AS v
    WHERE v."Ticket" = $1::text
),
handed_over AS (
    -- The latest batch that holds the violation, whatever became of it.
    SELECT
        b.batch_id,
        b.vendor,
        b.state
    FROM violation AS v
    JOIN public.collection_batches AS b ON v."ViolationID" = ANY (b.violation_ids)
    ORDER BY b.batch_id DESC
    LIMIT 1
),
last_hold AS (
    -- The hold that ends last: the one that held_until was taken from.
    SELECT h.reason
    FROM violation AS v
    JOIN public.collection_holds AS h ON h."ViolationID" = v."ViolationID"
    ORDER BY COALESCE(h.until, 'infinity') DESC, h.hold_id DESC
    LIMIT 1
)
SELECT
    r.rule,
    r.holds,
    r.detail
FROM violation AS v
LEFT JOIN handed_over AS b ON true
LEFT JOIN last_hold AS h ON true
LEFT JOIN public.ticket_categories AS c ON c."TicketTypeID" = v."TicketType"
CROSS JOIN LATERAL (
    VALUES
    (
        1,
        'due',
        COALESCE(v."Due" < now() - make_interval(days => $2::integer), false),
        format('%s, grace %s days', COALESCE('due ' || v."Due", 'no due date'), $2::integer)
    ),
    (
        2,
        'unsent',
        v."SentToCollections" IS NULL,
        CASE
            WHEN v."SentToCollections" IS NULL AND b.batch_id IS NULL THEN 'never sent'
            WHEN v."SentToCollections" IS NULL
                THEN format('not sent; was in batch %s to %s (%s)', b.batch_id, COALESCE(b.vendor, 'nobody'), b.state)
            WHEN b.batch_id IS NULL
                THEN format('sent on %s, in no batch of this gateway', v."SentToCollections")
            ELSE format(
                'sent on %s in batch %s to %s (%s)',
                v."SentToCollections", b.batch_id, COALESCE(b.vendor, 'nobody'), b.state
            )
        END
    ),
    (
        3,
        'not_processed',
        v."ProcessedByCollection" IS NULL,
        COALESCE('processed by collection on ' || v."ProcessedByCollection", 'not processed by collection')
    ),
    (
        4,
        'not_spoiled',
        v."Spoiled" = 0,
        CASE WHEN v."Spoiled" = 0 THEN 'not spoiled' ELSE 'spoiled' END
    ),
    (
        5,
        'not_a_warning',
        COALESCE(v."Warning", 0) = 0,
        CASE WHEN COALESCE(v."Warning", 0) = 0 THEN 'not a warning' ELSE 'a warning' END
    ),
    (
        6,
        'not_a_duplicate',
        v.duplicate IS NULL OR v.duplicate IN (0, -1),
        CASE
            WHEN v.duplicate IS NULL OR v.duplicate IN (0, -1) THEN 'not a duplicate'
            ELSE format('a duplicate (%s)', v.duplicate)
        END
    ),
    (
        7,
        'no_open_appeal',
        NOT (v."TicketAppeal" IS NOT NULL AND v."AppealProcessDate" IS NULL),
        CASE
            WHEN v."TicketAppeal" IS NULL THEN 'no appeal'
            WHEN v."AppealProcessDate" IS NULL THEN format('appealed on %s, not decided', v."TicketAppeal")
            ELSE format('appealed on %s, decided on %s', v."TicketAppeal", v."AppealProcessDate")
        END
    ),
    (
        8,
        'balance',
        -- `collectable` asks for more than 0, whatever the minimum: a negative one cannot make a paid ticket eligible.
        v.balance > GREATEST($3::numeric, 0),
        format(
            '%s %s + towing %s + tax %s - paid %s = %s, must exceed %s',
            CASE WHEN v.fine_due = v."Fine" THEN 'fine' ELSE format('fine %s adjusted to', trim_scale(v."Fine")) END,
            trim_scale(v.fine_due),
            trim_scale(v."Towing"),
            trim_scale(v."taxAmount"),
            trim_scale(v.paid_total),
            trim_scale(v.balance),
            trim_scale(GREATEST($3::numeric, 0))
        )
    ),
    (
        9,
        'no_hold',
        v.held_until IS NULL OR v.held_until <= now(),
        CASE
            WHEN v.held_until IS NULL THEN 'no hold'
            WHEN v.held_until <= now() THEN format('on hold until %s, which is over', v.held_until)
            ELSE format('on hold until %s: %s', v.held_until, COALESCE(h.reason, 'no reason recorded'))
        END
    ),
    (
        10,
        'category',
        v."TicketType" <> ALL (COALESCE($4::integer[], '{}')),
        format(
            'category %s%s, %s',
            v."TicketType",
            COALESCE(' (' || c."TicketTypeName" || ')', ''),
            CASE
                WHEN v."TicketType" = ANY (COALESCE($4::integer[], '{}')) THEN 'excluded'
                ELSE 'not excluded'
            END
        )
    )
) AS r (place, rule, holds, detail)
ORDER BY r.place;
