-- +goose Up
CREATE TABLE IF NOT EXISTS users (
    id         BIGINT       NOT NULL PRIMARY KEY,
    name       VARCHAR(200) NOT NULL,
    email      VARCHAR(254) NOT NULL,
    role       VARCHAR(16)  NOT NULL,
    active     TINYINT      NOT NULL,
    created_at DATETIME(3)  NOT NULL,
    updated_at DATETIME(3)  NOT NULL
    -- +mysql , KEY users_email (email), KEY users_name (name)
)
-- +mysql ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci
;
-- +sqlite CREATE INDEX IF NOT EXISTS users_email ON users (email);
-- +sqlite CREATE INDEX IF NOT EXISTS users_name ON users (name);
