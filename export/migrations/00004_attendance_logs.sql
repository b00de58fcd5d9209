-- +goose Up
CREATE TABLE IF NOT EXISTS attendance_logs (
    id              BIGINT      NOT NULL PRIMARY KEY,
    attendance_id   BIGINT      NULL,
    event_type      VARCHAR(40) NOT NULL,
    user_id         BIGINT      NULL,
    type            VARCHAR(3)  NULL,
    reason          VARCHAR(40) NULL,
    local_date      DATE        NULL,
    node_id         VARCHAR(64) NOT NULL,
    principal       VARCHAR(40) NOT NULL,
    idempotency_key VARCHAR(64) NULL,
    raft_index      BIGINT      NOT NULL,
    proposed_at     DATETIME(3) NULL,
    payload         JSON        NOT NULL,
    created_at      DATETIME(3) NOT NULL
    -- +mysql , KEY attendance_logs_attendance (attendance_id)
    -- +mysql , KEY attendance_logs_user (user_id, local_date)
    -- +mysql , KEY attendance_logs_type (event_type, local_date)
    -- +mysql , KEY attendance_logs_created (created_at)
)
-- +mysql ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci
;
-- +sqlite CREATE INDEX IF NOT EXISTS attendance_logs_attendance ON attendance_logs (attendance_id);
-- +sqlite CREATE INDEX IF NOT EXISTS attendance_logs_user ON attendance_logs (user_id, local_date);
-- +sqlite CREATE INDEX IF NOT EXISTS attendance_logs_type ON attendance_logs (event_type, local_date);
-- +sqlite CREATE INDEX IF NOT EXISTS attendance_logs_created ON attendance_logs (created_at);
