-- +goose Up
CREATE TABLE IF NOT EXISTS user_group_members (
    group_id BIGINT      NOT NULL,
    user_id  BIGINT      NOT NULL,
    role     VARCHAR(16) NOT NULL,
    PRIMARY KEY (group_id, user_id, role),
    -- +mysql KEY user_group_members_user (user_id, group_id),
    CONSTRAINT user_group_members_group_fk FOREIGN KEY (group_id) REFERENCES user_groups (id),
    CONSTRAINT user_group_members_user_fk FOREIGN KEY (user_id) REFERENCES users (id)
)
-- +mysql ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci
;
-- +sqlite CREATE INDEX IF NOT EXISTS user_group_members_user ON user_group_members (user_id, group_id);
