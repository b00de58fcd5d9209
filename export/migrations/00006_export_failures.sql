-- +goose Up
CREATE TABLE IF NOT EXISTS export_failures (
    seq        BIGINT       NOT NULL PRIMARY KEY,
    event_type VARCHAR(40)  NOT NULL,
    event_at   DATETIME(3)  NOT NULL,
    reason     VARCHAR(500) NOT NULL,
    attempts   INT          NOT NULL,
    retry      TINYINT      NOT NULL
)
-- +mysql ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci
;
