-- Every response that was accepted. seq is the order of arrival; the table is
-- appended to, and only the index of ids is written all over.
CREATE TABLE responses (
    seq         INTEGER PRIMARY KEY,
    namespace   TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    touchpoint  TEXT    NOT NULL,
    instrument  TEXT    NOT NULL,
    score       INTEGER NOT NULL,
    comment     TEXT    NOT NULL,
    answered_at INTEGER,          -- Unix milliseconds by the source's clock; NULL: it did not say
    received_at INTEGER NOT NULL, -- Unix milliseconds by the gateway's clock
    UNIQUE (namespace, id)
) STRICT;

-- How many responses were ever accepted. A total is its own fact, not a view of
-- the responses: what is removed later stays counted.
CREATE TABLE counters (
    namespace  TEXT    NOT NULL,
    touchpoint TEXT    NOT NULL,
    instrument TEXT    NOT NULL,
    score      INTEGER NOT NULL,
    total      INTEGER NOT NULL,
    PRIMARY KEY (namespace, touchpoint, instrument, score)
) STRICT, WITHOUT ROWID;

-- One row that a check writes to learn whether the disk still takes writes.
CREATE TABLE checks (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    checked_at INTEGER NOT NULL
) STRICT;
