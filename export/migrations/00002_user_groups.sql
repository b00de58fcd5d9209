-- +goose Up
CREATE TABLE IF NOT EXISTS user_groups (
    id         BIGINT       NOT NULL PRIMARY KEY,
    name       VARCHAR(200) NOT NULL,
    kind       VARCHAR(16)  NOT NULL,
    created_at DATETIME(3)  NOT NULL,
    updated_at DATETIME(3)  NOT NULL
    -- +mysql , KEY user_groups_name (name)
)
-- +mysql ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci
;
-- +sqlite CREATE INDEX IF NOT EXISTS user_groups_name ON user_groups (name);
