-- Statements about running jobs, for the client that runs them: see those of Postgres.

-- name: job_metadata_of_attempt
-- SQLite only: JSON is merged in Python, key by key, so that every value stays to the letter.
SELECT metadata
FROM river_job
WHERE id = :id AND state = 'running' AND attempt = :attempt AND json_extract(attempted_by, '$[#-1]') = :client_id;

-- name: job_look
SELECT id, attempt, json_type(metadata, '$.cancel_attempted_at') IS NOT NULL
FROM river_job
WHERE id IN (SELECT value FROM json_each(:ids))
    AND state = 'running'
    AND json_extract(attempted_by, '$[#-1]') = :client_id;

-- name: fault_add
INSERT INTO django_river_fault (kind, what, day, count)
VALUES (:kind, :what, :day, :count)
ON CONFLICT (kind, what, day) DO UPDATE SET count = count + excluded.count;

-- name: run_time_add
INSERT INTO django_river_runtime (kind, at, seconds) VALUES (:kind, :now, :seconds);
