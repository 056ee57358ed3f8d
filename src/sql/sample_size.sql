-- Tells sample.sql what to make.
-- $1 integer eligible violations, $2 integer historical ones, $3 bigint seed
SELECT set_config('turnpike.sample_violations', $1::integer::text, false),
       set_config('turnpike.sample_history', $2::integer::text, false),
       set_config('turnpike.sample_seed', $3::bigint::text, false),
       set_config('statement_timeout', '0', false)
