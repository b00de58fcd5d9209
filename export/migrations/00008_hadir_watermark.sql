-- +goose Up
CREATE TABLE IF NOT EXISTS hadir_watermark (
    id        INT         NOT NULL PRIMARY KEY,
    cluster   VARCHAR(32) NOT NULL,
    epoch     BIGINT      NOT NULL,
    seq       BIGINT      NOT NULL,
    fence     BIGINT      NOT NULL,
    last_hash VARCHAR(64) NOT NULL,
    as_of     DATETIME(3) NULL,
    decision  VARCHAR(16) NOT NULL
)
-- +mysql ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci
;
