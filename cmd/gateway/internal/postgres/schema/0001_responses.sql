-- Every response that was accepted. seq is about the order of arrival: gateways that
-- write at the same time take numbers ahead.
CREATE TABLE responses (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace   text     NOT NULL,
    id          text     NOT NULL,
    touchpoint  text     NOT NULL,
    instrument  text     NOT NULL,
    score       smallint NOT NULL,
    loss        real     NOT NULL, -- how bad the score is on its scale, 0 to 1
    comment     text     NOT NULL,
    answered_at bigint,            -- Unix milliseconds by the source's clock; NULL: it did not say
    received_at bigint   NOT NULL, -- Unix milliseconds by the gateway's clock
    segment     text     NOT NULL,
    channel     text     NOT NULL,
    subject     text     NOT NULL,
    submission  text     NOT NULL, -- the source's id of the form that the response came in
    UNIQUE (namespace, id)
);

-- Only those rows are in these indexes that have what they find.
CREATE INDEX responses_by_submission ON responses (namespace, submission) WHERE submission <> '';
CREATE INDEX responses_by_subject    ON responses (namespace, subject)    WHERE subject <> '';
CREATE INDEX responses_with_comment  ON responses (namespace, touchpoint, seq) WHERE comment <> '';

-- How many responses were ever accepted. Responses of a segment are counted twice: in
-- the counter of the segment, and in that of all, whose segment is ''. erased is how
-- many of total are no longer among the responses: total = responses + erased, always.
CREATE TABLE counters (
    namespace  text     NOT NULL,
    touchpoint text     NOT NULL,
    instrument text     NOT NULL,
    segment    text     NOT NULL,
    score      smallint NOT NULL,
    total      bigint   NOT NULL,
    erased     bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (namespace, touchpoint, instrument, segment, score)
-- Counters are updated all the time: with room on the page an update writes no index.
) WITH (fillfactor = 50);

-- Hashes of the ids of responses that were erased: sent again, they are known.
CREATE TABLE erased (
    key bytea PRIMARY KEY
);

-- One row for each gateway that checks whether the database still takes writes.
CREATE TABLE checks (
    gateway    text   PRIMARY KEY,
    checked_at bigint NOT NULL
);
