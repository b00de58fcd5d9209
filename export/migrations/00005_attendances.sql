-- +goose Up
CREATE TABLE IF NOT EXISTS attendances (
    id                BIGINT         NOT NULL PRIMARY KEY,
    user_id           BIGINT         NOT NULL,
    type              VARCHAR(3)     NOT NULL,
    timestamp         DATETIME(3)    NOT NULL,
    first_seen_at     DATETIME(3)    NOT NULL,
    local_date        DATE           NOT NULL,
    local_minute      INT            NOT NULL,
    first_seen_minute INT            NOT NULL,
    latitude          DECIMAL(10, 7) NULL,
    longitude         DECIMAL(10, 7) NULL,
    accuracy_m        DECIMAL(8, 2)  NULL,
    location_error    VARCHAR(16)    NULL,
    node_id           VARCHAR(64)    NOT NULL,
    offline           TINYINT        NOT NULL,
    claimed_at        DATETIME(3)    NULL,
    claim_trusted     TINYINT        NOT NULL,
    seq               BIGINT         NOT NULL,
    created_at        DATETIME(3)    NOT NULL,
    updated_at        DATETIME(3)    NOT NULL,
    -- +mysql KEY attendances_day (local_date, type, user_id),
    -- +mysql KEY attendances_user (user_id, local_date),
    -- +mysql KEY attendances_timestamp (timestamp),
    CONSTRAINT attendances_type_check CHECK (type IN ('in', 'out')),
    CONSTRAINT attendances_log_fk FOREIGN KEY (id) REFERENCES attendance_logs (id),
    CONSTRAINT attendances_user_fk FOREIGN KEY (user_id) REFERENCES users (id)
)
-- +mysql ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci
;
-- +sqlite CREATE INDEX IF NOT EXISTS attendances_day ON attendances (local_date, type, user_id);
-- +sqlite CREATE INDEX IF NOT EXISTS attendances_user ON attendances (user_id, local_date);
-- +sqlite CREATE INDEX IF NOT EXISTS attendances_timestamp ON attendances (timestamp);
