-- What several statements share. `-- include: claimed_by_us` on a line of its own stands for the text here.

-- fragment: claimed_by_us
SET state = 'running',
    attempt = min(attempt + 1, 32767),
    attempted_at = :now,
    attempted_by = json_insert((
        SELECT json_group_array(value)
        FROM (
            SELECT value
            FROM json_each(coalesce(attempted_by, '[]'))
            WHERE key > json_array_length(attempted_by) - :attempted_by_limit
            ORDER BY key
        )
    ), '$[#]', :client_id)
