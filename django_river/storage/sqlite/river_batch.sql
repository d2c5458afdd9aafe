-- Claims that batches need; one statement a demand, see job_fetch.

-- name: job_fetch_without
UPDATE river_job
-- include: claimed_by_us
WHERE id IN (
    SELECT id
    FROM (
        SELECT id, kind, args, scheduled_at
        FROM river_job
        WHERE state = 'available' AND queue = :queue AND scheduled_at <= :now
        ORDER BY priority, scheduled_at, id
        LIMIT :depth
    ) AS seen
    WHERE NOT EXISTS (
        SELECT 1
        FROM json_each(:left_out) AS out
        WHERE json_extract(out.value, '$[0]') = kind AND scheduled_at > json_extract(out.value, '$[1]')
    )
    LIMIT :limit
)
RETURNING id, kind, queue, priority, attempt, max_attempts, json_array_length(coalesce(errors, '[]')), args, metadata,
    scheduled_at;

-- name: job_fetch_matching
-- The value is compared as JSON text: what we have written ourselves is equal if its text is.
UPDATE river_job
-- include: claimed_by_us
WHERE id IN (
    SELECT id
    FROM (
        SELECT id, kind, args, scheduled_at
        FROM river_job
        WHERE state = 'available' AND queue = :queue AND scheduled_at <= :now
        ORDER BY priority, scheduled_at, id
        LIMIT :depth
    ) AS seen
    WHERE kind = :kind AND (:argument IS NULL OR (args -> :argument) = json(:value))
    LIMIT :limit
)
RETURNING id, kind, queue, priority, attempt, max_attempts, json_array_length(coalesce(errors, '[]')), args, metadata,
    scheduled_at;

-- name: client_list_living
SELECT id, queues FROM django_river_client WHERE heartbeat_at > :alive_after AND lost_at IS NULL ORDER BY id;
