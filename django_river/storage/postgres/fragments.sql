-- What several statements share. `-- include: claimed_by_us` on a line of its own stands for the text here.

-- fragment: claimed_by_us
SET state = 'running',
    attempt = least(attempt + 1, 32767),
    attempted_at = statement_timestamp(),
    attempted_by = CASE
        WHEN cardinality(attempted_by) >= %(attempted_by_limit)s
        THEN array_append(
            attempted_by[cardinality(attempted_by) - %(attempted_by_limit)s + 2:], %(client_id)s::text
        )
        ELSE array_append(attempted_by, %(client_id)s::text)
    END

-- fragment: with_term
-- What a leader writes counts only while the lease says so.
WITH term AS MATERIALIZED (
    SELECT FROM river_leader
    WHERE leader_id = %(leader_id)s AND elected_at = %(elected_at)s AND expires_at > statement_timestamp()
    FOR KEY SHARE
)
